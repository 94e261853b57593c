//! The headers of every request, whose values may stand in files that change.
//!
//! Owns that a token is read again once its file is another; a new one that cannot be used is told once, and the
//! one before it stays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::stamp::Stamp;
use crate::config::export::{Secret, header_from_file};

/// What is shorter is no secret, and is part of many a word.
const SHORTEST_SECRET: usize = 6;

/// Headers of one destination.
#[derive(Debug, Clone)]
pub struct Headers {
    fixed: HeaderMap,
    files: Arc<[FromFile]>,
}

#[derive(Debug)]
struct FromFile {
    name: HeaderName,
    path: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    stamp: Stamp,
    /// Marked as sensitive, so that it is not shown.
    value: HeaderValue,
}

impl Headers {
    /// Takes over the values that the configuration has read.
    ///
    /// # Errors
    /// If a name or a value cannot be sent.
    pub fn new(configured: &BTreeMap<String, Secret>) -> anyhow::Result<Self> {
        let (mut fixed, mut files) = (HeaderMap::new(), Vec::new());
        for (name, secret) in configured {
            let value =
                sensitive(secret).with_context(|| format!("value of header {name:?} cannot be sent"))?;
            let name: HeaderName = name.parse().with_context(|| format!("invalid header {name:?}"))?;
            match secret.file() {
                // Read once more before it is first sent: it may have changed since the configuration was read.
                Some(path) => files.push(FromFile {
                    name,
                    path: path.to_owned(),
                    current: Mutex::new(Current { stamp: Stamp::default(), value }),
                }),
                None => {
                    fixed.insert(name, value);
                }
            }
        }
        Ok(Self { fixed, files: files.into() })
    }

    /// A text from the other end, which may repeat what it was sent, without the values of headers.
    pub fn redact(&self, mut text: String) -> String {
        let last = self.files.iter().map(FromFile::last);
        for value in self.fixed.values().cloned().chain(last) {
            let Ok(value) = value.to_str() else { continue };
            // Of `Bearer abc` the other end may repeat the second word alone.
            let token = value.rsplit(' ').next().unwrap_or(value);
            for part in [value, token].into_iter().filter(|part| part.len() >= SHORTEST_SECRET) {
                if text.contains(part) {
                    text = text.replace(part, "(hidden)");
                }
            }
        }
        text
    }

    /// The headers of the next request.
    pub async fn current(&self) -> HeaderMap {
        let mut headers = self.fixed.clone();
        if self.files.is_empty() {
            return headers;
        }
        let files = Arc::clone(&self.files);
        let read = move || -> Vec<_> { files.iter().map(|file| (file.name.clone(), file.value())).collect() };
        // Ends early only with the runtime, and then nothing is sent any more.
        headers.extend(tokio::task::spawn_blocking(read).await.unwrap_or_default());
        headers
    }
}

impl FromFile {
    fn last(&self) -> HeaderValue {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).value.clone()
    }

    fn value(&self) -> HeaderValue {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of([self.path.as_path()]);
        if stamp != current.stamp {
            current.stamp = stamp;
            let read =
                header_from_file(&self.path).and_then(|secret| sensitive(&secret).map_err(|e| e.to_string()));
            match read {
                Ok(value) => current.value = value,
                Err(error) => {
                    tracing::warn!(header = %self.name, error, "the file's last good value stays in use");
                }
            }
        }
        current.value.clone()
    }
}

fn sensitive(secret: &Secret) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_repeats_is_hidden() {
        let headers = [("authorization", "Bearer abcdefgh"), ("x-key", "12345678"), ("x-tenant", "a")];
        let configured = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let headers = Headers::new(&configured).unwrap();
        let redacted = |text: &str| headers.redact(text.to_owned());
        assert_eq!(redacted("no: abcdefgh is expired"), "no: (hidden) is expired");
        assert_eq!(redacted("Bearer abcdefgh, 12345678"), "(hidden), (hidden)");
        assert_eq!(redacted("a bad request"), "a bad request");
    }

    #[tokio::test]
    async fn a_token_is_read_again_when_its_file_is_another_and_kept_when_that_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "Bearer one\n").unwrap();
        let configured = BTreeMap::from([
            ("authorization".to_owned(), Secret::from_file(&path).unwrap()),
            ("x-tenant".to_owned(), Secret::new("fixed-secret")),
        ]);
        let headers = Headers::new(&configured).unwrap();
        let sent = async |name: &str| headers.current().await[name].to_str().unwrap().to_owned();
        assert_eq!(
            (sent("authorization").await, sent("x-tenant").await),
            ("Bearer one".into(), "fixed-secret".into())
        );
        std::fs::write(&path, "Bearer second\n").unwrap();
        assert_eq!(sent("authorization").await, "Bearer second");
        for wrong in ["", "line\nbreak"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(sent("authorization").await, "Bearer second");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sent("authorization").await, "Bearer second");
        let shown = format!("{headers:?} {:?} {configured:?}", headers.current().await);
        assert!(!shown.contains("second") && !shown.contains("fixed-secret"), "{shown}");
    }
}
