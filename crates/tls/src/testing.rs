//! Certificates made for tests.

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

use crate::Identity;

pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn made(names: &[&str]) -> Made {
    of(names, &KeyPair::generate().unwrap())
}

pub(crate) fn identity(name: &str) -> Identity {
    let Made { certificate, key } = made(&[name]);
    Identity::from_pem(&certificate, &key).unwrap()
}

pub(crate) fn rsa_identity() -> Identity {
    let Made { certificate, key } = of(&["rsa.test"], &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    Identity::from_pem(&certificate, &key).unwrap()
}

fn of(names: &[&str], key: &KeyPair) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
    Made {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}
