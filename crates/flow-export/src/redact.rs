//! What must not leave: passwords, queries, headers and keys.

use flow_api::flow::layer7::Record;
use flow_api::flow::{Endpoint, Flow, Http, HttpHeader};

/// `hubble-redact-*`, and labels besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// `hubble-redact-http-urlquery`: the query and the fragment of URLs.
    pub http_urlquery: bool,
    /// `hubble-redact-http-userinfo`: the password before the host of URLs.
    pub http_userinfo: bool,
    /// `hubble-redact-http-headers-allow`: with any, the values of all other headers. Case does not count.
    pub http_headers_allow: Vec<String>,
    /// `hubble-redact-http-headers-deny`: the values of these headers. Case does not count.
    pub http_headers_deny: Vec<String>,
    /// `hubble-redact-kafka-apikey`: the key of Kafka's requests.
    pub kafka_apikey: bool,
    /// The values of labels with these keys (without their source), at both ends and of nodes.
    pub labels: Vec<String>,
}

impl Redaction {
    /// Takes it out of the flow.
    pub fn apply(&self, flow: &mut Flow) {
        let mut is_touched = false;
        match flow.l7.as_mut().and_then(|l7| l7.record.as_mut()) {
            Some(Record::Http(http)) => is_touched = self.http(http),
            Some(Record::Kafka(kafka)) if self.kafka_apikey && !kafka.api_key.is_empty() => {
                kafka.api_key = REDACTED.to_owned();
                is_touched = true;
            }
            _ => {}
        }
        if is_touched {
            // It tells the same once more, in a line of text.
            flow.summary.clear();
        }
        if !self.labels.is_empty() {
            flow.source.iter_mut().chain(&mut flow.destination).for_each(|end| self.endpoint(end));
            flow.node_labels.iter_mut().for_each(|label| self.label(label));
        }
    }

    fn http(&self, http: &mut Http) -> bool {
        let before = http.url.clone();
        if self.http_urlquery {
            let end = http.url.find(['?', '#']).unwrap_or(http.url.len());
            http.url.truncate(end);
        }
        if self.http_userinfo {
            http.url = without_password(&http.url);
        }
        let mut is_touched = before != http.url;
        for header in http.headers.iter_mut().filter(|header| self.is_secret(header)) {
            header.value = REDACTED.to_owned();
            is_touched = true;
        }
        is_touched
    }

    fn is_secret(&self, header: &HttpHeader) -> bool {
        let is_among = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case(&header.key));
        is_among(&self.http_headers_deny)
            || (!self.http_headers_allow.is_empty() && !is_among(&self.http_headers_allow))
    }

    fn endpoint(&self, endpoint: &mut Endpoint) {
        endpoint.labels.iter_mut().for_each(|label| self.label(label));
    }

    fn label(&self, label: &mut String) {
        let Some((name, _)) = label.split_once('=') else { return };
        let key = name.split_once(':').map_or(name, |(_, key)| key);
        if self.labels.iter().any(|wanted| wanted == key) {
            *label = format!("{name}={REDACTED}");
        }
    }
}

/// RFC 3986 §3.2: what stands between `//` and the last `@` before the path is the user; what follows its first `:`, the password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("//") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}//{user}:{REDACTED}@{host}{path}"),
        None => url.to_owned(),
    }
}

/// What stands where something was: Hubble's word.
const REDACTED: &str = "HUBBLE_REDACTED";
