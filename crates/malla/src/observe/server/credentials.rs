//! Who asks a server, and whom it believes: as a folder says, or file by file.

use super::{ServerArgs, Tls};
use crate::pem::{read, read_all};
use crate::server_address::Server;
use anyhow::{Context, bail};
use flow_api::client::{Believed, Credentials};
use std::path::Path;

impl ServerArgs {
    /// A flag that makes no sense in clear.
    pub(super) fn about_tls(&self) -> Option<&'static str> {
        let written = [
            (matches!(self.tls, Some(Tls::On | Tls::Folder(_))), "--tls"),
            (self.tls_allow_insecure == Some(true), "--tls-allow-insecure"),
            (!self.tls_ca_cert_files.is_empty(), "--tls-ca-cert-files"),
            (self.tls_client_cert_file.is_some(), "--tls-client-cert-file"),
            (self.tls_client_key_file.is_some(), "--tls-client-key-file"),
        ];
        written.iter().find(|(is_written, _)| *is_written).map(|(_, flag)| *flag)
    }

    /// Who asks, and whom it believes; `None`: it is spoken to in clear.
    pub(super) fn credentials(&self, server: &Server) -> anyhow::Result<Option<Credentials>> {
        let is_tls = matches!(server, Server::Network { tls: Some(true), .. });
        // A socket is this machine's own.
        if server.host().is_none() || !is_tls && self.about_tls().is_none() {
            return Ok(None);
        }
        let own = match (&self.tls_client_cert_file, &self.tls_client_key_file) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            (None, None) => None,
            (Some(_), None) => bail!("--tls-client-cert-file needs --tls-client-key-file, the key to it"),
            (None, Some(_)) => bail!("--tls-client-key-file needs --tls-client-cert-file, of which it is the key"),
        };
        let mut credentials = match &self.tls {
            Some(Tls::Folder(_)) if own.is_some() || !self.tls_ca_cert_files.is_empty() => {
                bail!("--tls FOLDER names certificate, key and authorities: leave out the folder, or the files")
            }
            Some(Tls::Folder(folder)) => Credentials::read(folder)?,
            _ => Credentials { believed: Believed::Anybody, own },
        };
        if self.tls_allow_insecure == Some(true) {
            credentials.believed = Believed::Anybody;
        } else if !matches!(self.tls, Some(Tls::Folder(_))) {
            credentials.believed = Believed::Authorities(self.authorities()?);
        }
        Ok(Some(credentials))
    }

    fn authorities(&self) -> anyhow::Result<Vec<u8>> {
        if !self.tls_ca_cert_files.is_empty() {
            return read_all(&self.tls_ca_cert_files);
        }
        let own = BUNDLES.iter().map(Path::new).find(|path| path.exists());
        read(own.context("this machine has no list of authorities: name some with --tls-ca-cert-files")?)
    }
}

/// Where systems keep the authorities that they believe.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
