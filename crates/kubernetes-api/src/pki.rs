//! The lab's own certificate authority, the server's and the administrator's certificates, and kubeconfig files.

use anyhow::{Context, Result};
use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The files of a PKI folder, all PEM.
#[derive(Debug, Clone)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Opens the folder and makes what is missing. The server's certificate is made anew when its names change.
    pub fn ensure(folder: &Path, names: &[String]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let pki = Self { folder: folder.to_owned() };
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let (ca_key, fresh_ca) = authority(&pki.ca(), &pki.ca_key(), "malla-ca")?;
        let issuer = Issuer::new(ca_params("malla-ca"), &ca_key);
        let listed = names.join("\n");
        let same_names = fs::read_to_string(folder.join("server.names")).is_ok_and(|old| old == listed);
        if fresh_ca || !same_names || !pki.server_key().exists() {
            let mut params = leaf_params("kube-apiserver", None);
            params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let key = KeyPair::generate()?;
            write_private(&pki.server_key(), key.serialize_pem().as_bytes())?;
            write_atomic(&pki.server(), params.signed_by(&key, &issuer)?.pem().as_bytes(), 0o644)?;
            write_atomic(&folder.join("server.names"), listed.as_bytes(), 0o644)?;
        }
        if fresh_ca || !pki.admin_key().exists() || !pki.admin().exists() {
            let mut params = leaf_params("kubernetes-admin", Some("system:masters"));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate()?;
            write_private(&pki.admin_key(), key.serialize_pem().as_bytes())?;
            write_atomic(&pki.admin(), params.signed_by(&key, &issuer)?.pem().as_bytes(), 0o644)?;
        }
        pki.ensure_hubble()?;
        Ok(pki)
    }

    /// What flows are served with between nodes, as Hubble has it: one name for all nodes of the cluster, and one for who gathers
    /// from them. By an authority of its own: who may ask for flows may not ask the API for anything.
    fn ensure_hubble(&self) -> Result<()> {
        let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        let ca = self.folder.join("hubble-ca.crt");
        let (key, _) = authority(&ca, &self.folder.join("hubble-ca.key"), "hubble-ca")?;
        let current = fs::read(&ca).with_context(|| format!("read {}", ca.display()))?;
        let issuer = Issuer::new(ca_params("hubble-ca"), &key);
        for (folder, name, usages) in [
            ("hubble-server", "*.default.hubble-grpc.cilium.io", vec![server.clone()]),
            ("hubble-relay", "*.hubble-relay.cilium.io", vec![client, server]),
        ] {
            let folder = self.folder.join(folder);
            // Its authority comes last: a folder without this one was never finished, or is an older one's.
            let is_whole = ["tls.crt", "tls.key"].iter().all(|name| folder.join(name).exists());
            if !is_whole || fs::read(folder.join("ca.crt")).ok().as_ref() != Some(&current) {
                issue_secret(&folder, name, usages, &current, &issuer)?;
            }
        }
        Ok(())
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The server's certificate.
    pub fn server(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// The administrator's certificate.
    pub fn admin(&self) -> PathBuf {
        self.folder.join("admin.crt")
    }

    /// The administrator's key.
    pub fn admin_key(&self) -> PathBuf {
        self.folder.join("admin.key")
    }

    /// Writes a kubeconfig (mode 0600) with the administrator's certificate for a server's URL.
    pub fn write_kubeconfig(&self, file: &Path, server: &str) -> Result<()> {
        let encode = |path: PathBuf| -> Result<String> {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
        };
        let (ca, cert, key) = (encode(self.ca())?, encode(self.admin())?, encode(self.admin_key())?);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: malla\nclusters:\n- name: malla\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {ca}\ncontexts:\n- name: malla\n  context:\n    cluster: malla\n    user: kubernetes-admin\n\
             users:\n- name: kubernetes-admin\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n"
        );
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        write_private(file, text.as_bytes())
    }
}

/// The key of an authority, and whether it was made just now.
fn authority(certificate: &Path, key: &Path, name: &str) -> Result<(KeyPair, bool)> {
    if certificate.exists() && key.exists() {
        let pem = fs::read_to_string(key).with_context(|| format!("read {}", key.display()))?;
        return Ok((KeyPair::from_pem(&pem).with_context(|| format!("read {}", key.display()))?, false));
    }
    let fresh = KeyPair::generate()?;
    write_private(key, fresh.serialize_pem().as_bytes())?;
    write_atomic(certificate, ca_params(name).self_signed(&fresh)?.pem().as_bytes(), 0o644)?;
    Ok((fresh, true))
}

/// A certificate in a folder that looks like a mounted Secret of type `kubernetes.io/tls`; the authority's comes last.
fn issue_secret(
    folder: &Path,
    name: &str,
    usages: Vec<ExtendedKeyUsagePurpose>,
    authority: &[u8],
    issuer: &Issuer<'_, &KeyPair>,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let mut params = leaf_params(name, None);
    params.subject_alt_names = CertificateParams::new(vec![name.to_owned()])?.subject_alt_names;
    params.extended_key_usages = usages;
    let key = KeyPair::generate()?;
    write_private(&folder.join("tls.key"), key.serialize_pem().as_bytes())?;
    write_atomic(&folder.join("tls.crt"), params.signed_by(&key, issuer)?.pem().as_bytes(), 0o644)?;
    write_atomic(&folder.join("ca.crt"), authority, 0o644)
}

fn named(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// Always the same, so that the issuer can be rebuilt from the stored key alone.
fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    validity(&mut params);
    params
}

fn leaf_params(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name, organization);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params);
    params
}

/// Wide on both sides: a lab is short-lived and its machine's clock may be anything.
fn validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 12, 31);
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, bytes, 0o600)
}

fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relay's folder: its authority, its certificate and its key, as they are.
    fn relays(folder: &Path) -> [Vec<u8>; 3] {
        ["ca.crt", "tls.crt", "tls.key"].map(|name| fs::read(folder.join("hubble-relay").join(name)).unwrap())
    }

    #[test]
    fn what_is_whole_stays_and_what_an_older_authority_gave_or_nobody_finished_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let ensure = || Pki::ensure(folder.path(), &["localhost".to_owned()]).unwrap();
        let ca = || fs::read(folder.path().join("hubble-ca.crt")).unwrap();
        ensure();
        let first = relays(folder.path());
        assert_eq!(first[0], ca());
        ensure();
        assert_eq!(relays(folder.path()), first, "whole: it stays");
        // A crash between key and certificate leaves a folder without its last file.
        fs::remove_file(folder.path().join("hubble-relay/ca.crt")).unwrap();
        fs::write(folder.path().join("hubble-relay/tls.key"), "another's").unwrap();
        ensure();
        let second = relays(folder.path());
        assert!(second[0] == first[0] && second[1] != first[1] && second[2] != b"another's");
        // Somebody removed one.
        fs::remove_file(folder.path().join("hubble-relay/tls.crt")).unwrap();
        ensure();
        let second = relays(folder.path());
        // A crash after the authority was renewed.
        fs::remove_file(folder.path().join("hubble-ca.key")).unwrap();
        fs::write(folder.path().join("hubble-ca.crt"), "renewed below").unwrap();
        ensure();
        let third = relays(folder.path());
        assert!(third[0] == ca() && third[0] != second[0] && third[1] != second[1]);
    }
}
