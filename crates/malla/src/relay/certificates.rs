//! Certificates file by file, as `hubble-relay` has them told; instead of folders.

use crate::pem::{read, read_all};
use clap::Args;
use flow_api::{client, server};
use std::path::PathBuf;

/// Arguments of `malla relay`. All PEM.
#[derive(Args, Debug)]
pub struct Files {
    /// Instead of --tls: this relay's certificate for the nodes
    #[arg(long, alias = "tls-client-cert-file", value_name = "FILE", requires_all = ["tls_hubble_client_key_file", "tls_hubble_server_ca_files"])]
    tls_hubble_client_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, alias = "tls-client-key-file", value_name = "FILE", requires = "tls_hubble_client_cert_file")]
    tls_hubble_client_key_file: Option<PathBuf>,
    /// The authorities whose certificates nodes have (several: with commas)
    #[arg(long, value_name = "FILES", value_delimiter = ',', conflicts_with = "tls")]
    tls_hubble_server_ca_files: Vec<PathBuf>,
    /// Instead of --serve-tls: this relay's certificate for its clients
    #[arg(long, alias = "tls-server-cert-file", value_name = "FILE", requires_all = ["tls_relay_server_key_file", "tls_relay_client_ca_files"])]
    tls_relay_server_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, alias = "tls-server-key-file", value_name = "FILE", requires = "tls_relay_server_cert_file")]
    tls_relay_server_key_file: Option<PathBuf>,
    /// The authorities whose certificates clients have (several: with commas)
    #[arg(
        long,
        value_name = "FILES",
        value_delimiter = ',',
        conflicts_with = "serve_tls",
        requires = "tls_relay_server_cert_file"
    )]
    tls_relay_client_ca_files: Vec<PathBuf>,
}

impl Files {
    /// Who asks nodes; `None`: nothing is said.
    ///
    /// # Errors
    /// When one of them can't be read; the error names it.
    pub fn client(&self) -> anyhow::Result<Option<client::Credentials>> {
        if self.tls_hubble_server_ca_files.is_empty() {
            return Ok(None);
        }
        let own = match (&self.tls_hubble_client_cert_file, &self.tls_hubble_client_key_file) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let believed = client::Believed::Authorities(read_all(&self.tls_hubble_server_ca_files)?);
        Ok(Some(client::Credentials { believed, own }))
    }

    /// Who serves, and whom; `None`: nothing is said.
    ///
    /// # Errors
    /// As for [`Files::client`].
    pub fn server(&self) -> anyhow::Result<Option<server::Credentials>> {
        let (Some(certificate), Some(key)) = (&self.tls_relay_server_cert_file, &self.tls_relay_server_key_file) else {
            return Ok(None);
        };
        let authorities = read_all(&self.tls_relay_client_ca_files)?;
        Ok(Some(server::Credentials { certificate: read(certificate)?, key: read(key)?, authorities }))
    }
}
