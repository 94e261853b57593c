//! Collectors behind TLS: a terminator in front of the plain ones, with certificates made for each test.

use std::path::PathBuf;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::export::Identity;

/// What signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Authorities of one name would pass for each other until the signature is looked at.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// The configuration of a server with these names, which asks clients for certificates of `clients`.
    pub fn server(&self, names: &[&str], clients: Option<&Self>) -> ServerConfig {
        self.server_with(names, clients, |_| ())
    }

    fn server_with(
        &self,
        names: &[&str],
        clients: Option<&Self>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let (certificate, key) = self.sign(names, change);
        server_config(&certificate, &key, clients)
    }
}

fn server_config(
    certificate: &rcgen::Certificate,
    key: &KeyPair,
    clients: Option<&Authority>,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Speaks TLS in front of a plain collector.
pub struct Terminator {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    /// Names that clients asked for.
    asked: Mutex<Vec<Option<String>>>,
    connections: Mutex<JoinSet<()>>,
}

impl Terminator {
    pub async fn start(config: ServerConfig, collector: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            config: Mutex::new(Arc::new(config)),
            asked: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::clone(&accepting.config.lock().unwrap()));
                let shared = Arc::clone(&accepting);
                accepting.connections.lock().unwrap().spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let asked = stream.get_ref().1.server_name().map(str::to_owned);
                    shared.asked.lock().unwrap().push(asked);
                    let mut collector = TcpStream::connect(collector).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut collector).await;
                });
            }
        });
        Self { address, shared }
    }

    /// Ends every connection and answers the next ones otherwise.
    fn change(&self, config: ServerConfig) {
        *self.shared.config.lock().unwrap() = Arc::new(config);
        self.cut();
    }

    fn cut(&self) {
        self.shared.connections.lock().unwrap().abort_all();
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.shared.asked.lock().unwrap().clone()
    }
}

/// The files of one client.
pub struct Files {
    directory: TempDir,
}

impl Files {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Trusts one authority.
    pub fn trust(&self, authority: &Authority) -> OtlpTls {
        let ca_file = Some(self.write("ca.pem", &authority.certificate.pem()));
        OtlpTls { ca_file, ..OtlpTls::default() }
    }

    /// Shows a certificate that an authority signed.
    fn identity(&self, authority: &Authority) -> Option<Identity> {
        let (certificate, key) = authority.sign(&["client"], |_| ());
        let certificate_file = self.write("client.pem", &certificate.pem());
        Some(Identity { certificate_file, key_file: self.write("client.key", &key.serialize_pem()) })
    }
}

pub fn tls_config(protocol: Protocol, origin: &str, tls: OtlpTls) -> OtlpConfig {
    // Handshakes take their time in a debug build on a busy machine.
    OtlpConfig { tls, timeout: Duration::from_secs(5), ..config(protocol, origin) }
}

fn client(protocol: Protocol, terminator: &Terminator, tls: OtlpTls) -> Exporters {
    start(tls_config(protocol, &format!("https://{}", terminator.address), tls))
}

async fn delivers(exporters: &Exporters) {
    exporters.send(&metrics(3));
    let statistics = settled(exporters).await.metrics;
    assert_eq!(statistics.delivered, statistics.accepted, "{statistics:?}");
}

/// Waits for the first failure; nothing may be lost over it.
async fn fails(exporters: &Exporters) -> String {
    exporters.send(&metrics(2));
    let statistics = until(exporters, |statistics| statistics.metrics.requests_failed > 0).await;
    assert_eq!((statistics.metrics.pending(), statistics.metrics.delivered), (2, 0));
    statistics.last_error.unwrap()
}

#[tokio::test]
async fn a_collector_of_a_root_that_is_given_is_trusted() {
    let (authority, files) = (Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let terminator = Terminator::start(authority.server(&["127.0.0.1"], None), collector).await;
        delivers(&client(protocol, &terminator, files.trust(&authority))).await;
        // There is no name to ask for in an address.
        assert_eq!(terminator.asked(), [None]);
    }
}

#[tokio::test]
async fn a_collector_of_an_unknown_root_gets_nothing_until_the_root_is_there() {
    let (authority, other, files) = (Authority::new(), Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let terminator = Terminator::start(authority.server(&["127.0.0.1"], None), collector).await;
        let exporters = client(protocol, &terminator, files.trust(&other));
        let error = fails(&exporters).await;
        assert!(error.contains("UnknownIssuer"), "{error}");
        assert!(terminator.asked().is_empty());
        files.trust(&authority);
        delivers(&exporters).await;
    }
}

#[tokio::test]
async fn the_systems_roots_do_not_know_a_collector_of_ones_own() {
    let authority = Authority::new();
    let collector = plain_collector(Protocol::Grpc).await;
    let terminator = Terminator::start(authority.server(&["127.0.0.1"], None), collector).await;
    let error = fails(&client(Protocol::Grpc, &terminator, OtlpTls::default())).await;
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_expired_or_of_another_name_is_refused_and_told() {
    let (authority, files) = (Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let expired = |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        };
        let terminator =
            Terminator::start(authority.server_with(&["127.0.0.1"], None, expired), collector).await;
        let error = fails(&client(protocol, &terminator, files.trust(&authority))).await;
        assert!(error.contains("certificate expired"), "{error}");

        terminator.change(authority.server(&["collector.test"], None));
        let exporters = client(protocol, &terminator, files.trust(&authority));
        let error = fails(&exporters).await;
        assert!(error.contains("not valid for name"), "{error}");
        // The collector has a new certificate: all goes on by itself.
        terminator.change(authority.server(&["127.0.0.1"], None));
        delivers(&exporters).await;
    }
}

#[tokio::test]
async fn another_name_is_asked_for_and_verified_where_one_is_given() {
    let (authority, files) = (Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let terminator = Terminator::start(authority.server(&["collector.test"], None), collector).await;
        let named = |name: &str| OtlpTls { server_name: Some(name.into()), ..files.trust(&authority) };
        delivers(&client(protocol, &terminator, named("collector.test"))).await;
        assert_eq!(terminator.asked(), [Some("collector.test".to_owned())]);
        let error = fails(&client(protocol, &terminator, named("other.test"))).await;
        assert!(error.contains("not valid for name \"other.test\""), "{error}");
    }
}

#[tokio::test]
async fn a_collector_that_asks_is_shown_the_certificate() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let server = authority.server(&["127.0.0.1"], Some(&clients));
        let terminator = Terminator::start(server, collector).await;
        let shown = |identity| OtlpTls { identity, ..files.trust(&authority) };
        delivers(&client(protocol, &terminator, shown(files.identity(&clients)))).await;

        let error = fails(&client(protocol, &terminator, shown(None))).await;
        assert!(error.contains("CertificateRequired"), "{error}");
        let exporters = client(protocol, &terminator, shown(files.identity(&authority)));
        let error = fails(&exporters).await;
        assert!(error.contains("UnknownCA") || error.contains("UnknownIssuer"), "{error}");
        // The right one is put in its place, and found without a restart.
        files.identity(&clients);
        delivers(&exporters).await;
    }
}

#[tokio::test]
async fn certificates_change_while_all_goes_on() {
    let (old, new, files) = (Authority::new(), Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let server = old.server(&["127.0.0.1"], Some(&old));
        let terminator = Terminator::start(server, collector).await;
        let tls = OtlpTls { identity: files.identity(&old), ..files.trust(&old) };
        let exporters = client(protocol, &terminator, tls);
        delivers(&exporters).await;
        // Both ends take over certificates of another authority.
        files.trust(&new);
        files.identity(&new);
        terminator.change(new.server(&["127.0.0.1"], Some(&new)));
        delivers(&exporters).await;
        // Files that are gone or half written leave what was there before.
        std::fs::remove_file(files.directory.path().join("client.key")).unwrap();
        files.write("ca.pem", "-----BEGIN CERTIFICATE-----\nMII");
        terminator.cut();
        delivers(&exporters).await;
    }
}

#[tokio::test]
async fn grpc_at_a_port_for_http_is_told() {
    let (authority, files) = (Authority::new(), Files::new());
    let collector = plain_collector(Protocol::HttpProtobuf).await;
    let mut server = authority.server(&["127.0.0.1"], None);
    server.alpn_protocols = vec![];
    let terminator = Terminator::start(server, collector).await;
    delivers(&client(Protocol::HttpProtobuf, &terminator, files.trust(&authority))).await;
    let error = fails(&client(Protocol::Grpc, &terminator, files.trust(&authority))).await;
    assert!(error.contains("does not offer HTTP/2"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_ones_own_making_is_its_own_root_unless_it_is_an_authoritys() {
    let (files, key) = (Files::new(), KeyPair::generate().unwrap());
    let collector = plain_collector(Protocol::Grpc).await;
    for (is_ca, refused) in
        [(IsCa::NoCa, None), (IsCa::Ca(BasicConstraints::Unconstrained), Some("CaUsedAsEndEntity"))]
    {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).unwrap();
        let terminator = Terminator::start(server_config(&certificate, &key, None), collector).await;
        let ca_file = Some(files.write("ca.pem", &certificate.pem()));
        let exporters = client(Protocol::Grpc, &terminator, OtlpTls { ca_file, ..OtlpTls::default() });
        match refused {
            None => delivers(&exporters).await,
            Some(part) => assert!(fails(&exporters).await.contains(part)),
        }
    }
}

#[tokio::test]
async fn files_that_are_wrong_at_start_are_told() {
    let files = Files::new();
    let ca_file = Some(files.write("ca.pem", "nothing"));
    for protocol in PROTOCOLS {
        let tls = OtlpTls { ca_file: ca_file.clone(), ..OtlpTls::default() };
        let destination = Destination::Otlp(Box::new(tls_config(protocol, "https://127.0.0.1:1", tls)));
        let error =
            format!("{:#}", Exporters::start(vec![destination], &[], &testing::NO_SPOOL).unwrap_err());
        assert!(error.contains("ca.pem holds no certificate"), "{error}");
    }
}
