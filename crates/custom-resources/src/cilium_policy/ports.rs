use super::{L7Rules, SecretName};
use crate::schema;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ports, and what is asked of those who use them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortRule {
    /// At most 40 ports. Without any, nothing is let through; port "0" means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 40))]
    pub ports: Option<Vec<PortProtocol>>,
    /// What may be said on them, by the words of a protocol above TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<L7Rules>,
    /// Names that TLS clients may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_names: Option<Vec<String>>,
    /// The proxy's listener that gets these connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// How the client's TLS ends at the proxy.
    #[serde(default, rename = "terminatingTLS", skip_serializing_if = "Option::is_none")]
    pub terminating_tls: Option<TlsContext>,
    /// How the proxy begins TLS to the server.
    #[serde(default, rename = "originatingTLS", skip_serializing_if = "Option::is_none")]
    pub originating_tls: Option<TlsContext>,
}

/// A port, a range of them, or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortProtocol {
    /// A number from 0 to 65535 or a container port's name, as text. "0" or "" means all ports of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The last port of a range that begins with port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 65535))]
    pub end_port: Option<i32>,
    /// ANY (the default) means TCP, UDP and SCTP. VRRP and IGMP have no ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["TCP", "UDP", "SCTP", "VRRP", "IGMP", "ANY"]))]
    pub protocol: Option<String>,
}

/// Types of ICMP messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IcmpRule {
    /// At most 40 types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 40))]
    pub fields: Option<Vec<IcmpField>>,
}

/// A type of ICMP message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IcmpField {
    // No default in the schema: what is applied again is then what is there, and kubectl says "unchanged".
    /// IPv4 where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["IPv4", "IPv6"]))]
    pub family: Option<String>,
    /// A number from 0 to 255, or a name in CamelCase such as EchoRequest.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub kind: IntOrString,
}

/// A listener of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Where it is configured.
    pub envoy_config: EnvoyConfigName,
    /// Its name.
    #[schemars(extend("minLength" = 1))]
    pub name: String,
    /// Which listener gets a connection that several rules send to one; the lowest does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 100))]
    pub priority: Option<i32>,
}

/// A configuration of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvoyConfigName {
    /// Its kind; by the policy's scope where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"]))]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(extend("minLength" = 1))]
    pub name: String,
}

/// Certificates and keys for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsContext {
    /// The Secret that holds them.
    pub secret: TlsSecret,
    /// Item of the authorities' certificates; `ca.crt` where it is absent.
    #[serde(default, rename = "trustedCA", skip_serializing_if = "Option::is_none")]
    pub trusted_ca: Option<String>,
    /// Item of the certificate; `tls.crt` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Item of the key; `tls.key` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
}

/// A Secret with certificates.
pub type TlsSecret = SecretName;
