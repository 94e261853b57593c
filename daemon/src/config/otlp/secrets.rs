//! Headers and certificates of one destination: where they stand, and whether they can be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::values::{header_from_file, header_name, header_value, server_name};
use super::{CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, Collector, Standard};
use crate::config::certificates::{IdentityFile, read_identity, read_roots};
use crate::config::document::join_key;
use crate::config::export::{Identity, OtlpTls, Secret};
use crate::config::reader::Place;
use crate::config::validate::absolute;
use crate::config::{Secrets, raw};

/// Where systemd has a credential of the service, for somebody who only looks.
const SERVICE_CREDENTIALS: &str = "/run/credentials/netsonde.service";

impl Collector<'_, '_> {
    pub(super) fn headers(&mut self, raw: raw::Table<Spanned<raw::Sourced>>) -> BTreeMap<String, Secret> {
        let mut headers = BTreeMap::new();
        let table = self.key("headers");
        for (name, value) in raw {
            let (name_place, value_place) = (Place::File(name.span()), Place::File(value.span()));
            let key = join_key(&table, name.get_ref());
            let name = self.reader.judge(&key, &name_place, header_name(name.get_ref()));
            let value = self.header(value.into_inner());
            let value = self.reader.judge(&key, &value_place, value);
            let (Some(name), Some(value)) = (name, value) else { continue };
            self.reader.set_place(&table, name_place.clone());
            if headers.insert(name, value).is_some() {
                let message = "given twice; the case of letters makes no difference";
                self.reader.problem(&key, &name_place, message);
            }
        }
        headers
    }

    fn header(&self, value: raw::Sourced) -> Result<Secret, String> {
        let path = match value {
            raw::Sourced::Text(text) => return header_value(&text),
            raw::Sourced::Elsewhere(source) => self.source(*source)?,
        };
        match self.secrets {
            Secrets::Read => header_from_file(&path),
            Secrets::Leave => Ok(Secret::unread(path)),
        }
    }

    /// The path that a table with `file` or `credential` means.
    fn source(&self, source: raw::Source) -> Result<PathBuf, String> {
        match (source.file, source.credential) {
            (Some(file), None) => absolute(file.get_ref()),
            (None, Some(name)) => self.credential(name.get_ref()),
            _ => Err("write { file = \"/path\" } or { credential = \"name\" }".to_owned()),
        }
    }

    /// The file of a systemd credential: systemd.exec(5), "Credentials".
    fn credential(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
            return Err(format!("{name:?} is not the name of a credential; it has no / and is no path"));
        }
        match self.reader.given("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(absolute(&directory)?.join(name)),
            // Not read; where systemd would have it.
            None if self.secrets == Secrets::Leave => Ok(Path::new(SERVICE_CREDENTIALS).join(name)),
            None => Err(format!(
                "there is no credential {name:?}: CREDENTIALS_DIRECTORY is not set, as systemd does for a service \
                 with LoadCredential={name}:/path; to check by hand, set it to a folder with such a file"
            )),
        }
    }

    pub(super) fn tls(&mut self, raw: raw::OtlpTls) -> OtlpTls {
        let before = self.reader.problems();
        let ca_file = self.pem_file("tls.ca_file", raw.ca_file, &CERTIFICATE);
        let certificate_file =
            self.pem_file("tls.certificate_file", raw.certificate_file, &CLIENT_CERTIFICATE);
        let key_file = self.pem_file("tls.key_file", raw.key_file, &CLIENT_KEY);
        let key = format!("{}.tls.server_name", self.key);
        let server_name = self.reader.optional(&key, raw.server_name, |text| server_name(text));
        if self.secrets == Secrets::Read
            && let Some((path, place)) = &ca_file
        {
            let key = format!("{}.tls.ca_file", self.key);
            self.reader.judge(&key, place, read_roots(path));
        }
        let identity = match (certificate_file, key_file) {
            (Some(certificate), Some(key)) => self.identity(certificate, key),
            (None, None) => None,
            // The one that is not there was told to be wrong.
            _ if self.reader.problems() > before => None,
            (Some((_, place)), None) => {
                let key = format!("{}.tls.key_file", self.key);
                self.reader.problem(&key, &place, "missing; a certificate is of no use without its key");
                None
            }
            (None, Some((_, place))) => {
                let key = format!("{}.tls.certificate_file", self.key);
                self.reader.problem(&key, &place, "missing; a key is of no use without its certificate");
                None
            }
        };
        OtlpTls { ca_file: ca_file.map(|(path, _)| path), identity, server_name }
    }

    fn identity(&mut self, certificate: (PathBuf, Place), key: (PathBuf, Place)) -> Option<Identity> {
        let (certificate_place, key_place) = (certificate.1, key.1);
        let identity = Identity { certificate_file: certificate.0, key_file: key.0 };
        if self.secrets == Secrets::Read
            && let Err((file, message)) = read_identity(&identity)
        {
            let (key, place) = match file {
                IdentityFile::Certificate => ("certificate_file", certificate_place),
                IdentityFile::Key => ("key_file", key_place),
            };
            self.reader.problem(&format!("{}.tls.{key}", self.key), &place, &message);
            return None;
        }
        Some(identity)
    }

    /// The path of a PEM file, with where it was said.
    fn pem_file(
        &mut self,
        key: &'static str,
        raw: Option<Spanned<raw::Sourced>>,
        variable: &Standard,
    ) -> Option<(PathBuf, Place)> {
        let full = format!("{}.{key}", self.key);
        let place = raw.as_ref().map(|raw| Place::File(raw.span()));
        let path = match raw.map(Spanned::into_inner) {
            None => None,
            Some(raw::Sourced::Text(text)) => Some(absolute(&text)),
            Some(raw::Sourced::Elsewhere(source)) => Some(self.source(*source)),
        };
        self.reader.set_origin(&full, place.clone());
        let path = path.and_then(|path| self.reader.judge(&full, place.as_ref()?, path));
        let path = self.standard(variable, |text| absolute(text).map(Some), path);
        path.zip(self.reader.place(&full).cloned())
    }
}
