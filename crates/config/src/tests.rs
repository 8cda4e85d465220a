use std::path::{Path, PathBuf};

use crate::*;

fn args(change: impl FnOnce(&mut ServerArgs)) -> ServerArgs {
    let mut args = ServerArgs {
        home: PathBuf::from("/data"),
        ..ServerArgs::default()
    };
    change(&mut args);
    args
}

fn addresses(config: &NodeConfig) -> Vec<String> {
    config
        .proxy_listen
        .iter()
        .map(|listen| listen.address.to_string())
        .collect()
}

#[test]
fn defaults() {
    let config = resolve_with_file(&args(|_| ()), "").unwrap();
    assert_eq!(addresses(&config), ["0.0.0.0:8000"]);
    assert_eq!(config.api_listen.unwrap().to_string(), "127.0.0.1:8002");
    assert_eq!(
        config.access_log.unwrap().path,
        Path::new("/data/logs/access.log")
    );
    assert!(config.workers >= 1);
    assert_eq!(
        config.proxy_tls_listen,
        [ProxyListen::at("0.0.0.0:8443".parse().unwrap(), true)]
    );
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file =
        "proxy_listen = [\"127.0.0.1:1\", \":2\"]\nworkers = 3\napi_listen = false\naccess_log = 'combined'";
    let config = resolve_with_file(&args(|args| args.workers = Some("4".to_owned())), file).unwrap();
    assert_eq!(addresses(&config), ["127.0.0.1:1", "0.0.0.0:2"]);
    assert_eq!((config.workers, config.api_listen), (4, None));
    assert_eq!(config.access_log.unwrap().format, AccessLogFormat::Combined);
}

#[test]
fn the_gateway_may_listen_nowhere_by_itself() {
    let config = resolve_with_file(&args(|args| args.proxy_listen = vec!["off".to_owned()]), "").unwrap();
    assert!(config.proxy_listen.is_empty());
}

#[test]
fn limits_have_bounds() {
    let config = resolve_with_file(
        &args(|args| args.limits.max_line = Some("8k".to_owned())),
        "head_timeout = '3s'",
    );
    let limits = config.unwrap().limits;
    assert_eq!(
        (limits.line_bytes, limits.head_timeout.as_secs(), limits.headers),
        (8192, 3, 100)
    );
    assert_eq!(limits.connections, None);
    let problems = resolve_with_file(
        &args(|_| ()),
        "max_line = 10\nmax_headers = 0\nidle_timeout = 'long'",
    )
    .unwrap_err();
    assert_eq!(problems.0.len(), 3, "{problems}");
}

#[test]
fn an_empty_environment_variable_is_none() {
    let empty = args(|args| {
        args.workers = Some(String::new());
        args.proxy_listen = vec![String::new()];
    });
    assert_eq!(
        addresses(&resolve_with_file(&empty, "workers = 7").unwrap()),
        ["0.0.0.0:8000"]
    );
}

#[test]
fn every_problem_is_told_with_its_source() {
    let bad = args(|args| {
        args.proxy_listen = vec!["nowhere".to_owned(), "80".to_owned()];
        args.workers = Some("0".to_owned());
        args.access_log = Some("xml".to_owned());
    });
    let file = "\nworker = 2\ndrain_timeout = 'soon'\nlog = 1.5\nkeys = ";
    let expected = "\
hythe.toml:2: unknown setting `worker`; did you mean `workers`?
hythe.toml:4: expected a text, a number, or a list of texts
hythe.toml:5: unknown setting `keys`; there are proxy_listen, proxy_tls_listen, trusted_proxies, real_ip_header, real_ip_recursive, api_listen, workers, \
access_log, access_log_path, logs_budget, drain_timeout, resolver, log, head_timeout, idle_timeout, body_timeout, body_rate, client_write_timeout, max_line, max_head, max_headers, max_requests_per_connection, max_connections, max_connections_per_client, upstream_idle_timeout, upstream_idle_connections
hythe.toml:5: string values must be quoted, expected literal string
--proxy-listen (HYTHE_PROXY_LISTEN): `nowhere` is not an address to listen on; write it like `8000`, \
`127.0.0.1:8000` or `[::]:8000`
--workers (HYTHE_WORKERS): `0` is not a number of workers, 1 to 1024
--access-log (HYTHE_ACCESS_LOG): `xml` is none of json, combined, off
hythe.toml:3: `soon` is not a duration; write it like `500ms`, `10s`, `1m30s` or `2h`";
    assert_eq!(resolve_with_file(&bad, file).unwrap_err().to_string(), expected);
}

#[test]
fn addresses_as_people_write_them() {
    let rows = [
        ("8000", "0.0.0.0:8000"),
        ("*:80", "0.0.0.0:80"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::1]:8", "[::1]:8"),
        ("10.0.0.1:9", "10.0.0.1:9"),
    ];
    for (text, expected) in rows {
        let config = resolve_with_file(&args(|args| args.proxy_listen = vec![text.to_owned()]), "").unwrap();
        assert_eq!(addresses(&config), [expected]);
    }
}

#[test]
fn listeners_have_names_and_options() {
    let listen = |text: &str| {
        let config = resolve_with_file(&args(|args| args.proxy_listen = vec![text.to_owned()]), "");
        config.map(|config| config.proxy_listen[0].clone())
    };
    let at = |address: &str, ssl| ProxyListen::at(address.parse().unwrap(), ssl);
    let named = |name: &str, listen| ProxyListen {
        name: name.to_owned(),
        ..listen
    };
    let rows = [
        ("8000", at("0.0.0.0:8000", false)),
        (
            "internal=127.0.0.1:8010",
            named("internal", at("127.0.0.1:8010", false)),
        ),
        ("8443 ssl http2", at("0.0.0.0:8443", true)),
        (
            "a_1=:80  proxy_protocol http2=off",
            ProxyListen {
                http2: false,
                proxy_protocol: true,
                ..named("a_1", at("0.0.0.0:80", false))
            },
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(listen(text).unwrap(), expected, "{text}");
    }
    let refused = [
        ("8000 reuseport", "`reuseport` is none of the options"),
        ("Public=8000", "`Public` cannot be the name"),
        ("=8000", "`` cannot be the name"),
        ("internal=", "`` is not an address"),
    ];
    for (text, message) in refused {
        let problems = listen(text).unwrap_err().to_string();
        assert!(problems.contains(message), "{text}: {problems}");
    }
}

#[test]
fn dns_servers_have_a_port_of_their_own() {
    let resolvers = |text: &str| {
        let file = format!("resolver = [{text}]");
        let config = resolve_with_file(&args(|_| ()), &file).map_err(|problems| problems.to_string())?;
        Ok::<_, String>(
            config
                .resolvers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    assert_eq!(
        resolvers("'10.0.0.2', '[::1]', 'fd00::1', '[::1]:5353'").unwrap(),
        "10.0.0.2:53 [::1]:53 [fd00::1]:53 [::1]:5353"
    );
    assert!(
        resolvers("'dns.test'")
            .unwrap_err()
            .contains("is not the address of a DNS server")
    );
    assert!(resolvers("'10.0.0.2:0'").is_err());
}

#[test]
fn trusted_proxies_are_networks() {
    let file = "trusted_proxies = ['10.0.0.0/8', '::1']\nreal_ip_header = 'x-forwarded-for'\nreal_ip_recursive = true";
    let trusted = resolve_with_file(&args(|_| ()), file).unwrap().trusted_proxies;
    let networks: Vec<String> = trusted.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(
        (trusted.header, trusted.recursive),
        (RealIpHeader::XForwardedFor, true)
    );
    let file =
        "trusted_proxies = ['10.0.0.0/33', 'proxy']\nreal_ip_header = 'Via'\nreal_ip_recursive = 'yes'";
    assert_eq!(resolve_with_file(&args(|_| ()), file).unwrap_err().0.len(), 4);
}

#[test]
fn the_node_file_is_read_from_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(node_file(folder.path()), "workers = 2").unwrap();
    let config = resolve(&args(|args| args.home = folder.path().to_owned())).unwrap();
    assert_eq!(config.workers, 2);
    let missing = folder.path().join("not-yet");
    assert_eq!(
        resolve(&args(|args| args.home.clone_from(&missing)))
            .unwrap()
            .home,
        missing
    );
}

#[test]
fn the_data_directory_is_absolute() {
    let home = |given: Option<&str>, user: Option<&str>| {
        default_home(given.map(Path::new), user.map(Into::into)).map_err(|error| error.to_string())
    };
    assert_eq!(home(Some("/x"), None).unwrap(), Path::new("/x"));
    assert_eq!(
        home(Some(""), Some("/home/me")).unwrap(),
        Path::new("/home/me/.hythe")
    );
    assert!(home(Some("x"), None).unwrap().is_absolute());
    assert!(home(None, None).is_err());
}

#[test]
fn logs_have_a_budget() {
    let budget = |text: &str| {
        let file = format!("logs_budget = '{text}'");
        resolve_with_file(&args(|_| ()), &file).map(|config| config.logs_budget)
    };
    assert_eq!(budget("").unwrap(), 1 << 30);
    assert_eq!(budget("2M").unwrap(), 2 << 20);
    for refused in ["10k", "much"] {
        assert_eq!(budget(refused).unwrap_err().0.len(), 1, "{refused}");
    }
}
