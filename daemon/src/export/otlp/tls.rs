//! The TLS side of one destination: whom to trust, what to show, which name to ask for.
//!
//! Owns rustls' configuration, made anew before a handshake when a file of it has changed. Files that turn out
//! wrong are told once, and what was there before stays: certificate and key are never replaced in one step.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::stamp::Stamp;
use crate::config::export::{OtlpTls, read_identity, read_roots};

/// What handshakes with one destination need.
#[derive(Debug)]
pub struct Tls {
    files: OtlpTls,
    server_name: ServerName<'static>,
    /// The one application protocol that is offered: `h2` or `http/1.1` (RFC 7301).
    protocol: &'static [u8],
    /// The system's roots, where no others are given; read once.
    system: Option<Arc<RootCertStore>>,
    current: Mutex<(Stamp, Arc<ClientConfig>)>,
}

impl Tls {
    /// Reads the files. `host` is the URL's.
    ///
    /// # Errors
    /// If a file is wrong, there are no roots at all, or the host is no name that a certificate could have.
    pub fn new(files: &OtlpTls, host: &str, protocol: &'static [u8]) -> anyhow::Result<Self> {
        let name = files.server_name.as_deref().unwrap_or(host.trim_start_matches('[').trim_end_matches(']'));
        let server_name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("{name:?} is not a name that a certificate can have"))?;
        let system = if files.ca_file.is_some() { None } else { Some(system_roots()?) };
        let stamp = stamp(files);
        let config = client_config(files, system.as_ref(), protocol)?;
        let current = Mutex::new((stamp, Arc::new(config)));
        Ok(Self { files: files.clone(), server_name, protocol, system, current })
    }

    /// What the next handshake is made with. May read files.
    pub fn connector(&self) -> TlsConnector {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if stamp != current.0 {
            current.0 = stamp;
            match client_config(&self.files, self.system.as_ref(), self.protocol) {
                Ok(config) => {
                    tracing::info!(server = ?self.server_name, "certificates were read again");
                    current.1 = Arc::new(config);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "certificates have changed and cannot be used; those before stay");
                }
            }
        }
        TlsConnector::from(Arc::clone(&current.1))
    }

    /// The name that is asked for and verified.
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// The application protocol that the server has to take up.
    pub fn protocol(&self) -> &'static [u8] {
        self.protocol
    }
}

fn stamp(files: &OtlpTls) -> Stamp {
    let identity =
        files.identity.iter().flat_map(|identity| [&identity.certificate_file, &identity.key_file]);
    Stamp::of(files.ca_file.iter().chain(identity).map(AsRef::<Path>::as_ref))
}

fn client_config(
    files: &OtlpTls,
    system: Option<&Arc<RootCertStore>>,
    protocol: &[u8],
) -> anyhow::Result<ClientConfig> {
    let roots = match (&files.ca_file, system) {
        (Some(path), _) => Arc::new(read_roots(path).map_err(|message| anyhow!(message))?),
        (None, Some(system)) => Arc::clone(system),
        (None, None) => bail!("no root certificates"),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS version to offer")?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        Some(identity) => {
            let key = read_identity(identity).map_err(|(_, message)| anyhow!(message))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// The system's roots, as long as anybody uses them: every collector has two connections.
static SYSTEM: Mutex<Weak<RootCertStore>> = Mutex::new(Weak::new());

fn system_roots() -> anyhow::Result<Arc<RootCertStore>> {
    let mut shared = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(roots) = shared.upgrade() {
        return Ok(roots);
    }
    let roots = Arc::new(read_system_roots()?);
    *shared = Arc::downgrade(&roots);
    Ok(roots)
}

/// The roots that the host trusts: those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or where OpenSSL has them.
fn read_system_roots() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // A store may hold certificates of forms that nobody uses any more.
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "root certificates of the system that cannot be used");
    }
    if roots.is_empty() {
        bail!("the system has no root certificates; install ca-certificates, or set ca_file");
    }
    Ok(roots)
}
