//! What PEM files say (RFC 7468): roots to trust, and a certificate with its key to show.
//!
//! Owns reading and checking them, for the configuration and again whenever a file has changed. Handshakes are the
//! exporter's matter.

use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};

use super::export::Identity;
use super::secret::read_file;

/// A bundle of every public root has a quarter of this.
const LARGEST_PEM: u64 = 1 << 20;

/// Which of the two files of an identity is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityFile {
    /// The certificate, or one above it in its chain.
    Certificate,
    /// Its private key.
    Key,
}

/// Reads every certificate of a file as a root to trust.
///
/// # Errors
///
/// One sentence that names the file and what is wrong in it.
pub fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in read_chain(path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            format!("certificate {} in {} cannot be a root: {error}", index + 1, path.display())
        })?;
    }
    Ok(roots)
}

/// Reads a certificate with its chain and its private key, which belong together.
///
/// # Errors
///
/// Which file is wrong, and one sentence that names it.
pub fn read_identity(identity: &Identity) -> Result<CertifiedKey, (IdentityFile, String)> {
    let certificate = identity.certificate_file.display();
    let chain =
        read_chain(&identity.certificate_file).map_err(|message| (IdentityFile::Certificate, message))?;
    let key = read_key(&identity.key_file).map_err(|message| (IdentityFile::Key, message))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let key = identity.key_file.display();
            (
                IdentityFile::Key,
                format!("the key in {key} does not belong to the certificate in {certificate}"),
            )
        }
        TlsError::InvalidCertificate(_) => {
            (IdentityFile::Certificate, format!("the certificate in {certificate} cannot be used: {error}"))
        }
        error => {
            let key = identity.key_file.display();
            (IdentityFile::Key, format!("the key in {key} cannot be used: {error}"))
        }
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_file(path, LARGEST_PEM)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| not_pem(path, &error))?;
    if chain.is_empty() {
        return Err(nothing(path, &bytes, "certificate", "CERTIFICATE"));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read_file(path, LARGEST_PEM)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound if holds(&bytes, "ENCRYPTED PRIVATE KEY") => {
            format!(
                "the key in {} is encrypted, and nobody is there to be asked for its passphrase; decrypt it with \
                 `openssl pkey`",
                path.display()
            )
        }
        PemError::NoItemsFound => nothing(path, &bytes, "private key", "PRIVATE KEY"),
        error => not_pem(path, &error),
    })
}

/// Says that a file has no such block, and what it has instead where that can be told.
fn nothing(path: &Path, bytes: &[u8], what: &str, label: &str) -> String {
    let path = path.display();
    let instead = if bytes.is_empty() {
        "; it is empty"
    } else if bytes.starts_with(&[0x30]) {
        "; it looks like DER, convert it to PEM with `openssl`"
    } else if label != "CERTIFICATE" && holds(bytes, "CERTIFICATE") {
        "; it holds a certificate"
    } else if label == "CERTIFICATE" && holds(bytes, "PRIVATE KEY") {
        "; it holds a private key"
    } else {
        ""
    };
    format!(
        "{path} holds no {what}: there is no block in it that begins with -----BEGIN {label}-----{instead}"
    )
}

/// The library's own words would show parts of the file, which may be a key.
fn not_pem(path: &Path, error: &PemError) -> String {
    let what = match error {
        PemError::MissingSectionEnd { .. } => "a block in it does not end with its -----END line",
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line in it is broken",
        PemError::Base64Decode(_) => "a block in it is not base64",
        _ => "it cannot be read as such",
    };
    format!("{} is not valid PEM: {what}", path.display())
}

fn holds(bytes: &[u8], label: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(&format!("{label}-----"))
}
