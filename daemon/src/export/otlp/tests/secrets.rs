//! Nothing secret in logs, types and statistics, whatever the level.

use std::io::Write;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// All tasks run on this test's thread, whose log is kept.
#[tokio::test]
async fn no_secret_is_in_logs_types_or_statistics() {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || written.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "Bearer hunter2\n").unwrap();
    let mut shown = String::new();
    for protocol in PROTOCOLS {
        let address = plain_collector(protocol).await;
        let absent = format!("127.0.0.1:{}", free_port());
        for (origin, proxies) in [
            (format!("http://{address}"), Proxies::default()),
            (format!("http://{absent}"), Proxies::default()),
            ("http://collector.test:1".to_owned(), Proxies::new(&format!("http://me:hunter2@{absent}"), "")),
        ] {
            let mut config = config(protocol, &origin);
            config.headers = BTreeMap::from([
                ("authorization".into(), Secret::from_file(&token).unwrap()),
                ("x-key".into(), Secret::new("hunter2")),
            ]);
            config.proxies = proxies;
            shown.push_str(&format!("{config:?}"));
            // Other tests, which keep no log, may just have registered what is written to it.
            tracing::callsite::rebuild_interest_cache();
            let exporters = start(config);
            exporters.send(&metrics(1));
            let statistics = until(&exporters, |statistics| {
                statistics.metrics.requests_failed + statistics.metrics.requests_ok > 0
            })
            .await;
            shown.push_str(&format!("{statistics:?}{exporters:?}"));
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("export fails"), "the log is kept: {log}");
    for text in [log, shown] {
        let text = text.to_lowercase();
        for secret in ["hunter2", "bwu6ahvudgvymg", "aHVudGVyMg"] {
            assert!(!text.contains(&secret.to_lowercase()), "{secret} is in: {text}");
        }
    }
}

#[tokio::test]
async fn what_a_collector_repeats_of_a_token_is_hidden() {
    let says = tonic::Status::unauthenticated("the token hunter2-hunter2 is expired");
    let collector = grpc::Collector::new([grpc::Answer::Error(says)]);
    let mut config = config(Protocol::Grpc, &format!("http://{}", collector.serve(0)));
    config.headers = BTreeMap::from([("authorization".into(), Secret::new("Bearer hunter2-hunter2"))]);
    let exporters = start(config);
    exporters.send(&metrics(1));
    let error = settled(&exporters).await.last_error.unwrap();
    assert_eq!(error, "Unauthenticated: the token (hidden) is expired");
}
