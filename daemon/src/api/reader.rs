//! The API for a reader in the same process: the same answers to the same questions, without a socket.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tower_service::Service as _;

use super::{Shown, router};

/// Asks the parts of this process. Clones ask the same.
#[derive(Debug, Clone)]
pub struct Reader(Router);

impl Reader {
    /// Of what is shown.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        Self(router(shown))
    }

    /// The answer to a GET request, of at most so many bytes.
    ///
    /// # Errors
    ///
    /// When there is none, or it has more.
    pub async fn get(&self, path: &str, most: usize) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let request = Request::builder().uri(path).body(Body::empty())?;
        // A router is always ready, and never fails.
        let Ok(response) = self.0.clone().call(request).await;
        let code = response.status();
        let body = Limited::new(response.into_body(), most).collect().await;
        Ok((code, body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes().to_vec()))
    }
}
