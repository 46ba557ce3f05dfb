//! What form of answer a client wants.

/// The shape of an object in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Object,
    /// `meta.k8s.io` Table.
    Table,
    /// Metadata alone.
    Metadata,
    /// Metadata alone, of a list.
    MetadataList,
    /// Aggregated discovery: v2 or v2beta1.
    Discovery,
}

/// The best of the media types in `Accept` that the server can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Which shape.
    pub form: Form,
    /// Version parameter of the shape (`v1`, `v2beta1`, …).
    pub version: String,
    /// YAML instead of JSON.
    pub yaml: bool,
    /// The client takes no kind of JSON or YAML.
    pub unacceptable: bool,
}

impl Accept {
    /// Reads the header; the first type that can be served wins, as clients list them by preference.
    pub fn parse(header: &str) -> Self {
        let plain = Self { form: Form::Object, version: String::new(), yaml: false, unacceptable: false };
        if header.trim().is_empty() {
            return plain;
        }
        for item in header.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            let yaml = match media {
                "application/json" | "*/*" | "application/*" | "text/plain" | "text/html" | "text/*" => false,
                "application/yaml" => true,
                _ => continue,
            };
            let (mut shape, mut version, mut group) = ("", "", "");
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key {
                    "as" => shape = value,
                    "v" => version = value,
                    "g" => group = value,
                    _ => {}
                }
            }
            let form = match (shape, group) {
                ("", _) => Form::Object,
                ("Table", "meta.k8s.io") if matches!(version, "v1" | "v1beta1") => Form::Table,
                ("PartialObjectMetadata", "meta.k8s.io") if matches!(version, "v1" | "v1beta1") => Form::Metadata,
                ("PartialObjectMetadataList", "meta.k8s.io") if matches!(version, "v1" | "v1beta1") => {
                    Form::MetadataList
                }
                ("APIGroupDiscoveryList", "apidiscovery.k8s.io") if matches!(version, "v2" | "v2beta1") => {
                    Form::Discovery
                }
                _ => continue,
            };
            return Self { form, version: version.to_owned(), yaml, unacceptable: false };
        }
        Self { unacceptable: true, ..plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_possible_form_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(Accept::parse(table).form, Form::Table);
        assert_eq!(Accept::parse("application/vnd.kubernetes.protobuf,application/json").form, Form::Object);
        assert!(Accept::parse("application/vnd.kubernetes.protobuf").unacceptable);
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(Accept::parse(discovery).form, Form::Discovery);
        assert_eq!(Accept::parse("application/json;as=Table;v=v9;g=meta.k8s.io,application/json").form, Form::Object);
        assert!(!Accept::parse("").unacceptable);
    }
}
