//! What is spoken.

use super::check;

#[test]
fn numbers_ranges_names_and_protocols() {
    for (port, expected) in [
        ("{port: '80', protocol: TCP}", "tcp/80"),
        ("{port: '80', protocol: tcp}", "tcp/80"),
        ("{port: '80'}", "any/80"),
        ("{port: '80', protocol: ANY}", "any/80"),
        ("{port: '53', protocol: UDP}", "udp/53"),
        ("{port: '9', protocol: SCTP}", "sctp/9"),
        ("{port: '65535', protocol: TCP}", "tcp/65535"),
        ("{port: '1000', endPort: 2000, protocol: TCP}", "tcp/1000-2000"),
        ("{port: '1000', endPort: 1000, protocol: TCP}", "tcp/1000"),
        ("{port: '1000', endPort: 0, protocol: TCP}", "tcp/1000"),
        ("{port: http, protocol: TCP}", "tcp/http"),
        ("{port: Web-2, protocol: UDP}", "udp/web-2"),
        ("{port: '0x10', protocol: TCP}", "tcp/0x10"),
        ("{port: '0', protocol: TCP}", "tcp"),
        ("{port: '', protocol: UDP}", "udp"),
        ("{protocol: SCTP}", "sctp"),
        ("{port: '0', protocol: ANY}", "any"),
        ("{port: '0', protocol: VRRP}", "protocol 112"),
        ("{port: '0', protocol: IGMP}", "protocol 2"),
    ] {
        check(
            &format!("egress: [{{toEntities: [all], toPorts: [{{ports: [{port}]}}]}}]"),
            &[&format!("spec.egress[0] allow all : {expected}")],
        );
    }
}

#[test]
fn all_entries_add_up() {
    check(
        "ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}, {port: '443', protocol: TCP}]}, {ports: [{port: '53'}]}]}]",
        &["spec.ingress[0] allow anybody : tcp/80 tcp/443 any/53"],
    );
    let forty = vec!["{port: '7'}"; 40].join(", ");
    check(
        &format!("ingressDeny: [{{toPorts: [{{ports: [{forty}]}}]}}]"),
        &[&format!("spec.ingressDeny[0] deny anybody : {}", vec!["any/7"; 40].join(" "))],
    );
}

#[test]
fn icmp_by_number_and_by_name_of_each_family() {
    for (field, expected) in [
        ("{type: 8}", "icmp/8"),
        ("{type: '8'}", "icmp/8"),
        ("{type: EchoRequest}", "icmp/8"),
        ("{type: Echo}", "icmp/8"),
        ("{family: IPv4, type: TimeExceeded}", "icmp/11"),
        ("{family: IPv6, type: EchoRequest}", "icmpv6/128"),
        ("{family: IPv6, type: TimeExceeded}", "icmpv6/3"),
        ("{family: IPv6, type: NeighborSolicitation}", "icmpv6/135"),
        ("{family: IPv6, type: 255}", "icmpv6/255"),
    ] {
        check(
            &format!("egress: [{{icmps: [{{fields: [{field}]}}]}}]"),
            &[&format!("spec.egress[0] allow anybody : {expected}")],
        );
    }
    check(
        "ingress: [{fromEntities: [world], icmps: [{fields: [{type: 8}, {type: 0}]}, {fields: [{family: IPv6, type: 128}]}]}]",
        &["spec.ingress[0] allow world : icmp/8 icmp/0 icmpv6/128"],
    );
}
