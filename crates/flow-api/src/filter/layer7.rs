//! HTTP and DNS. What a flow does not tell never fits.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::layer7::Record;
use crate::flow::{Dns, Flow, FlowFilter, Http};
use crate::numbers::event::ACCESS_LOG;
use regex::{Regex, RegexBuilder};

/// `404`, or the beginning of one: `4+`, `40+`.
pub fn http_status(filter: &FlowFilter) -> Field {
    let field = "http_status_code";
    let read = |text: &String| {
        let digits = text.strip_suffix('+').unwrap_or(text);
        let is_prefix = digits.len() < text.len();
        let length_fits = if is_prefix { (1..=2).contains(&digits.len()) } else { digits.len() == 3 };
        let number_fits = digits.bytes().all(|b| b.is_ascii_digit()) && digits.starts_with(['1', '2', '3', '4', '5']);
        let wrong =
            || Invalid::new(field, format!("{text:?} is neither a status (404) nor the beginning of one (4+, 40+)"));
        (length_fits && number_fits).then(|| digits.to_owned()).ok_or_else(wrong)
    };
    http(field, filter, &filter.http_status_code, read, |http, beginning| {
        http.code != 0 && format!("{:03}", http.code).starts_with(beginning.as_str())
    })
}

/// In any case.
pub fn http_method(filter: &FlowFilter) -> Field {
    http(
        "http_method",
        filter,
        &filter.http_method,
        |text| Ok(text.clone()),
        |http, method| !http.method.is_empty() && http.method.eq_ignore_ascii_case(method),
    )
}

/// An expression over the path alone: no scheme, host, query or fragment.
pub fn http_path(filter: &FlowFilter) -> Field {
    let field = "http_path";
    http(
        field,
        filter,
        &filter.http_path,
        |text| expression(field, text),
        |http, path| path_of(&http.url).is_some_and(|found| path.is_match(found)),
    )
}

/// An expression over the whole URL.
pub fn http_url(filter: &FlowFilter) -> Field {
    let field = "http_url";
    http(
        field,
        filter,
        &filter.http_url,
        |text| expression(field, text),
        |http, url| !http.url.is_empty() && url.is_match(&http.url),
    )
}

/// An empty key or value is any.
pub fn http_header(filter: &FlowFilter) -> Field {
    http(
        "http_header",
        filter,
        &filter.http_header,
        |header| Ok(header.clone()),
        |http, wanted| {
            http.headers.iter().any(|header| {
                (wanted.key.is_empty() || wanted.key == header.key)
                    && (wanted.value.is_empty() || wanted.value == header.value)
            })
        },
    )
}

/// An expression over the name that was asked for.
pub fn dns_query(field: &str, wanted: &[String]) -> Field {
    let wanted = wanted.iter().map(|text| expression(field, text)).collect::<Result<Vec<_>, _>>()?;
    Ok((!wanted.is_empty()).then(|| -> Test {
        Box::new(move |flow| dns_of(flow).is_some_and(|dns| wanted.iter().any(|query| query.is_match(&dns.query))))
    }))
}

fn http<T, W: Send + Sync + 'static>(
    field: &str,
    filter: &FlowFilter,
    wanted: &[T],
    read: impl Fn(&T) -> Result<W, Invalid>,
    fits: impl Fn(&Http, &W) -> bool + Send + Sync + 'static,
) -> Field {
    if wanted.is_empty() {
        return Ok(None);
    }
    // Such a filter could never fit, which is surely not what was meant.
    let types = &filter.event_type;
    if !types.is_empty() && !types.iter().any(|t| t.r#type == ACCESS_LOG) {
        return Err(Invalid::new(field, "only l7 events have it, and event_type does not ask for them"));
    }
    let wanted = wanted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Box::new(move |flow| http_of(flow).is_some_and(|http| wanted.iter().any(|wanted| fits(http, wanted))))))
}

/// The syntax is RE2's, as Hubble's is. What would cost more than a megabyte is refused.
fn expression(field: &str, text: &str) -> Result<Regex, Invalid> {
    RegexBuilder::new(text)
        .size_limit(1 << 20)
        .dfa_size_limit(1 << 20)
        .build()
        .map_err(|error| Invalid::new(field, format!("{text:?} is no regular expression: {error}")))
}

/// RFC 3986 §3.3; `None` where it is no URL that a request can have.
fn path_of(url: &str) -> Option<&str> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    if url.starts_with('/') {
        return Some(url);
    }
    let (_, rest) = url.split_once("://")?;
    Some(rest.find('/').map_or("", |start| &rest[start..]))
}

fn http_of(flow: &Flow) -> Option<&Http> {
    match flow.l7.as_ref()?.record.as_ref()? {
        Record::Http(http) => Some(http),
        _ => None,
    }
}

fn dns_of(flow: &Flow) -> Option<&Dns> {
    match flow.l7.as_ref()?.record.as_ref()? {
        Record::Dns(dns) => Some(dns),
        _ => None,
    }
}
