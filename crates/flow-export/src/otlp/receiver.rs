//! Who gets the records, and how they are told.

use super::headers::Headers;
use tonic::codegen::http::uri::{InvalidUri, Uri};

/// A receiver of OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// See [`address`].
    pub address: String,
    pub protocol: Protocol,
    /// Whether requests are compressed, by gzip.
    pub is_compressed: bool,
    /// Sent with each request.
    pub headers: Headers,
    /// By TLS: whose certificates are believed (PEM). Without, none is.
    pub authorities: Vec<u8>,
    /// By TLS: who we are.
    pub identity: Option<Identity>,
}

/// What messages travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    /// Protobuf by POST, in HTTP/1.1.
    Http,
}

/// A certificate of our own.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM, with those between it and an authority.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

/// The key is nobody's to see.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Reads `http://HOST:PORT` or `https://HOST:PORT`; with [`Protocol::Http`] the port may be left out and a path may follow, below which
/// the receiver has `/v1/logs`.
///
/// # Errors
/// In words: it is something else.
pub fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error: InvalidUri| error.to_string())?;
    match uri.scheme_str() {
        // What stands before an @ would be told wherever the address is, and to nobody who asks for it.
        Some("http" | "https") if uri.query().is_none() && !text.contains(['@', '#']) => Ok(text.to_owned()),
        _ => Err("it is http://HOST:PORT or https://HOST:PORT, by http/protobuf perhaps with a path".to_owned()),
    }
}

/// Whether the address asks for TLS.
#[must_use]
pub fn is_tls(address: &str) -> bool {
    address.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_tls_gets_it_however_it_is_written() {
        assert!(is_tls("HTTPS://h:4317") && is_tls("https://h:4317") && !is_tls("http://https:4317"));
    }
}
