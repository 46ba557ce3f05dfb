//! `malla agent --hubble-export-otlp-…`: who gets log records, and the files that say as whom.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use flow_export::otlp::{Headers, Identity, Protocol, is_tls};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where log records are sent. What is secret is in files, which nobody sees in a list of processes.
#[derive(Args, Clone, Debug)]
pub struct OtlpArgs {
    /// Send flows as log records to this receiver of OTLP: http://HOST:PORT, or by TLS https://HOST:PORT. What the lists, the field
    /// mask, the redaction and the aggregation leave is sent, as to the file. By http/protobuf the port may be left out and a path may
    /// follow; /v1/logs is put after it
    #[arg(long, env = "MALLA_HUBBLE_EXPORT_OTLP_ENDPOINT", value_parser = flow_export::otlp::address, value_name = "URL")]
    pub hubble_export_otlp_endpoint: Option<String>,
    /// How they are sent
    #[arg(long, env = "MALLA_HUBBLE_EXPORT_OTLP_PROTOCOL", value_enum, default_value_t, value_name = "PROTOCOL")]
    pub hubble_export_otlp_protocol: Spoken,
    /// Whether requests are compressed
    #[arg(long, value_enum, default_value_t, value_name = "COMPRESSION")]
    pub hubble_export_otlp_compression: Compressed,
    /// Headers that go with each request, from a file that others can't read: key=value, in lines or separated by commas, in values %XX
    /// for what is no plain letter (OpenTelemetry's format)
    #[arg(long, value_name = "FILE")]
    pub hubble_export_otlp_headers_file: Option<PathBuf>,
    /// The authorities that sign the receiver's certificate (PEM)
    #[arg(long, default_value = AUTHORITIES, value_name = "FILE")]
    pub hubble_export_otlp_certificate: PathBuf,
    /// Our own certificate, for a receiver that asks who calls (PEM)
    #[arg(long, requires = "hubble_export_otlp_client_key_file", value_name = "FILE")]
    pub hubble_export_otlp_client_cert_file: Option<PathBuf>,
    /// Its key, in a file that others can't read (PEM)
    #[arg(long, requires = "hubble_export_otlp_client_cert_file", value_name = "FILE")]
    pub hubble_export_otlp_client_key_file: Option<PathBuf>,
}

/// Under OpenTelemetry's names (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Spoken {
    #[default]
    Grpc,
    #[value(name = "http/protobuf")]
    Http,
}

/// The same (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compressed {
    #[default]
    None,
    Gzip,
}

/// Who gets them, by files that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub address: String,
    pub protocol: Protocol,
    pub is_compressed: bool,
    pub headers: Option<PathBuf>,
    pub authorities: PathBuf,
    /// The certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl OtlpArgs {
    /// `None`: there is none.
    pub(super) fn receiver(&self) -> Option<Receiver> {
        let own = self.hubble_export_otlp_client_cert_file.clone();
        Some(Receiver {
            address: self.hubble_export_otlp_endpoint.clone()?,
            protocol: match self.hubble_export_otlp_protocol {
                Spoken::Grpc => Protocol::Grpc,
                Spoken::Http => Protocol::Http,
            },
            is_compressed: self.hubble_export_otlp_compression == Compressed::Gzip,
            headers: self.hubble_export_otlp_headers_file.clone(),
            authorities: self.hubble_export_otlp_certificate.clone(),
            identity: own.zip(self.hubble_export_otlp_client_key_file.clone()),
        })
    }
}

impl Receiver {
    /// With what is in its files now.
    ///
    /// # Errors
    /// One of them can't be read, is too long, makes no sense, or others can read what is secret.
    pub fn read(&self) -> anyhow::Result<flow_export::otlp::Receiver> {
        let headers = self.headers.as_deref().map(headers).transpose()?.unwrap_or_default();
        let is_tls = is_tls(&self.address);
        let own = |(certificate, key): &(PathBuf, PathBuf)| -> anyhow::Result<Identity> {
            Ok(Identity { certificate: contents(certificate)?, key: secret(key)? })
        };
        Ok(flow_export::otlp::Receiver {
            address: self.address.clone(),
            protocol: self.protocol,
            is_compressed: self.is_compressed,
            headers,
            authorities: if is_tls { contents(&self.authorities)? } else { Vec::new() },
            identity: self.identity.as_ref().filter(|_| is_tls).map(own).transpose()?,
        })
    }
}

fn headers(path: &Path) -> anyhow::Result<Headers> {
    // Its words say nothing of what is in it.
    let text = String::from_utf8(secret(path)?).map_err(|_| anyhow::anyhow!("{path:?} is no text"))?;
    Headers::read(&text).map_err(|why| anyhow::anyhow!("{path:?}: {why}"))
}

/// Of a file that only its owner and group may read.
fn secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mode = std::fs::metadata(path).with_context(|| format!("read {path:?}"))?.permissions().mode();
    if mode & OTHERS != 0 {
        bail!("{path:?}: others can read it (mode {:o}): chmod 600, or defaultMode: 0400 of a Secret", mode & 0o777);
    }
    contents(path)
}

fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("read {path:?}"))?;
    if bytes.len() as u64 > LARGEST {
        bail!("{path:?}: more than {LARGEST} bytes");
    }
    Ok(bytes)
}

/// Those of the system, in Debian and most images.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Any right of those who are neither owner nor of the group.
const OTHERS: u32 = 0o007;
/// Bytes of a file: a system's authorities are some hundred thousand.
const LARGEST: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::args::tests::parsed;
    use super::*;

    const TO: &str = "--hubble-export-otlp-endpoint=https://otel:4317";

    #[test]
    fn it_is_an_address_and_perhaps_files() {
        let receiver = |flags: &[&str]| parsed(flags).map(|args| args.otlp.receiver());
        assert_eq!(receiver(&[]), Ok(None));
        let plain = Receiver {
            address: "https://otel:4317".into(),
            protocol: Protocol::Grpc,
            is_compressed: false,
            headers: None,
            authorities: AUTHORITIES.into(),
            identity: None,
        };
        assert_eq!(receiver(&[TO]), Ok(Some(plain.clone())));
        let all = [
            TO,
            "--hubble-export-otlp-protocol=http/protobuf",
            "--hubble-export-otlp-compression=gzip",
            "--hubble-export-otlp-headers-file=/h",
            "--hubble-export-otlp-certificate=/ca.pem",
            "--hubble-export-otlp-client-cert-file=/c",
            "--hubble-export-otlp-client-key-file=/k",
        ];
        let whole = Receiver {
            protocol: Protocol::Http,
            is_compressed: true,
            headers: Some("/h".into()),
            authorities: "/ca.pem".into(),
            identity: Some(("/c".into(), "/k".into())),
            ..plain
        };
        assert_eq!(receiver(&all), Ok(Some(whole)));
        assert!(receiver(&["--hubble-export-otlp-endpoint", "otel:4317"]).is_err());
        assert!(receiver(&[TO, "--hubble-export-otlp-protocol=http/json"]).is_err());
        let half = receiver(&[TO, "--hubble-export-otlp-client-cert-file=/c"]).unwrap_err();
        assert!(half.contains("--hubble-export-otlp-client-key-file"), "{half}");
    }

    #[test]
    fn what_is_secret_is_only_its_owners_to_read_and_in_nobodys_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            headers(&path).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read("a=b", 0o640), Headers::read("a=b"));
        for (text, mode, words) in [
            ("a=secret", 0o644, "headers\": others can read it (mode 644)"),
            ("secret", 0o600, "headers\": line 1: a header is written key=value"),
            (&"a=secret,".repeat(1 << 20), 0o600, "more than 4194304 bytes"),
        ] {
            let why = read(text, mode).unwrap_err();
            assert!(why.contains(words) && !why.contains("secret"), "{why}");
        }
    }
}
