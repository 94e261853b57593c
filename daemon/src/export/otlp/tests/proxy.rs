//! Collectors that only a proxy can reach: their name is known to no resolver.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::tls::{Authority, Files, Terminator, tls_config};
use super::*;

const NAME: &str = "collector.test";
/// `me:hunter2` in base64.
const PASSWORD: &str = "Basic bWU6aHVudGVyMg==";

/// Brings every connection to one collector.
struct Proxy {
    address: SocketAddr,
    /// The first head on each connection.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(collector: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // Clients that give up early are no failure of the proxy.
                    let _ = Self::pass_on(stream, collector, &seen).await;
                });
            }
        });
        Self { address, heads }
    }

    async fn pass_on(
        mut client: TcpStream,
        collector: SocketAddr,
        seen: &Mutex<Vec<String>>,
    ) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            bytes.push(client.read_u8().await?);
        }
        let head = String::from_utf8(bytes.clone()).unwrap();
        seen.lock().unwrap().push(head.clone());
        if !head.to_lowercase().contains(&format!("proxy-authorization: {}", PASSWORD.to_lowercase())) {
            return client.write_all(b"HTTP/1.1 407 who?\r\ncontent-length: 0\r\n\r\n").await;
        }
        let mut collector = TcpStream::connect(collector).await?;
        if head.starts_with("CONNECT ") {
            client.write_all(b"HTTP/1.1 200 go on\r\n\r\n").await?;
        } else {
            collector.write_all(&bytes).await?;
        }
        tokio::io::copy_bidirectional(&mut client, &mut collector).await?;
        Ok(())
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn proxies(&self, user: &str) -> Proxies {
        Proxies::new(&format!("http://{user}@{}", self.address), "")
    }
}

#[tokio::test]
async fn what_is_encrypted_goes_through_a_tunnel() {
    let (authority, files) = (Authority::new(), Files::new());
    for protocol in PROTOCOLS {
        let collector = plain_collector(protocol).await;
        let terminator = Terminator::start(authority.server(&[NAME], None), collector).await;
        let proxy = Proxy::start(terminator.address).await;
        let mut config = tls_config(protocol, &format!("https://{NAME}:4317"), files.trust(&authority));
        config.proxies = proxy.proxies("me:hunter2");
        let exporters = start(config);
        exporters.send(&metrics(3));
        assert_eq!(settled(&exporters).await.metrics.delivered, 3);
        let heads = proxy.heads();
        assert!(heads[0].starts_with("CONNECT collector.test:4317 HTTP/1.1\r\n"), "{heads:?}");
        // The collector's token is not the proxy's business.
        assert!(!heads[0].contains("Bearer"), "{heads:?}");
    }
}

#[tokio::test]
async fn http_2_goes_through_a_tunnel_and_plain_http_is_handed_over() {
    for (protocol, port, line) in [
        (Protocol::Grpc, ":4317", "CONNECT collector.test:4317 HTTP/1.1\r\n"),
        (Protocol::Grpc, "", "CONNECT collector.test:80 HTTP/1.1\r\n"),
        (Protocol::HttpProtobuf, ":4318", "POST http://collector.test:4318/v1/metrics HTTP/1.1\r\n"),
    ] {
        let proxy = Proxy::start(plain_collector(protocol).await).await;
        let mut config = config(protocol, &format!("http://{NAME}{port}"));
        config.timeout = Duration::from_secs(5);
        config.proxies = proxy.proxies("me:hunter2");
        let exporters = start(config);
        for _ in 0..2 {
            exporters.send(&metrics(3));
            settled(&exporters).await;
        }
        let statistics = settled(&exporters).await.metrics;
        assert_eq!((statistics.delivered, statistics.requests_failed), (6, 0));
        let heads = proxy.heads();
        assert!(heads[0].starts_with(line), "{heads:?}");
        assert_eq!(heads.len(), 1, "one connection is enough: {heads:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_costs_nothing_but_time() {
    for protocol in PROTOCOLS {
        let proxy = Proxy::start(plain_collector(protocol).await).await;
        let mut config = config(protocol, &format!("http://{NAME}:4317"));
        config.timeout = Duration::from_secs(5);
        config.proxies = proxy.proxies("me:wrong");
        let exporters = start(config);
        exporters.send(&metrics(3));
        let statistics = until(&exporters, |statistics| statistics.metrics.requests_failed > 0).await;
        assert_eq!((statistics.metrics.pending(), statistics.metrics.lost_total()), (3, 0));
        let error = statistics.last_error.unwrap();
        assert!(error.contains("proxy") && !error.contains("wrong"), "{error}");
    }
}

#[tokio::test]
async fn a_collector_on_this_host_is_reached_without_the_proxy() {
    for protocol in PROTOCOLS {
        let proxy = Proxy::start(plain_collector(protocol).await).await;
        let mut config = config(protocol, &format!("http://{}", plain_collector(protocol).await));
        config.proxies = proxy.proxies("me:hunter2");
        let exporters = start(config);
        exporters.send(&metrics(3));
        assert_eq!(settled(&exporters).await.metrics.delivered, 3);
        assert!(proxy.heads().is_empty());
    }
}
