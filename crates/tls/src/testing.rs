//! Certificates made for tests.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

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

/// A certificate and those above it, each signed by the next.
pub(crate) struct Lineage {
    /// The own one first, without the root.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
}

impl Lineage {
    /// `between`: authorities between the root and the certificate of `name`.
    pub(crate) fn new(between: u8, name: &str) -> Self {
        let (params, key) = (authority("root"), KeyPair::generate().unwrap());
        let root = params.self_signed(&key).unwrap().der().clone();
        let mut issuer = Issuer::new(params, key);
        let mut chain = Vec::new();
        for number in 0..between {
            let (params, key) = (
                authority(&format!("between {number}")),
                KeyPair::generate().unwrap(),
            );
            chain.insert(0, params.signed_by(&key, &issuer).unwrap().der().clone());
            issuer = Issuer::new(params, key);
        }
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        chain.insert(0, own.der().clone());
        Self { chain, root }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
