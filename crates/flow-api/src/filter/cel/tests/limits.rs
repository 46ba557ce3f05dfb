//! One client must not be able to keep a node busy.

use super::*;

#[test]
fn what_is_too_large_is_refused() {
    let nested = |open: &str, close: &str, times: usize| format!("{}1{} == 1", open.repeat(times), close.repeat(times));
    for expression in [
        format!("_flow.uuid == '{}'", "a".repeat(4096)),
        nested("(1+", ")", 800),
        nested("[", "]", 1500),
        nested("-(", ")", 1000),
        nested("int(", ")", 800),
        format!("1{} == 1", " + 1".repeat(900)),
        format!("{}true", "true ? ".repeat(500)),
        format!("_flow{}", ".source".repeat(500)),
        "[".repeat(4000),
        "{".repeat(4000),
        // Ways to nest that the parser does not count.
        format!("({}x).a()", "-!".repeat(2040)),
        format!("{}0", "0?0:".repeat(1000)),
        format!("_flow.uuid{}", ".a()".repeat(1000)),
        format!("{}true", "''.matches('\\\\w{9}')||".repeat(5)),
    ] {
        refusal(&expression);
    }
    let many = vec!["true"; 17];
    let Invalid { field, reason } = Filters::new(&[asking(&many)], &[]).unwrap_err();
    assert_eq!((field.as_str(), reason.as_str()), ("whitelist", "17 CEL expressions; 16 are the most"));
    assert!(Filters::new(&[], &[asking(&many[..8]), asking(&many[..9])]).is_err());
    assert!(Filters::new(&[], &[asking(&many[..8]), asking(&many[..8])]).is_ok());
    // But an ordinary long one is not, and parentheses that say nothing are nothing.
    assert!(fits(&format!("{}true", "!".repeat(4000)), &tcp()));
    assert!(fits(&format!("{}true{}", "(".repeat(1500), ")".repeat(1500)), &tcp()));
    let ports: Vec<String> = (0..100).map(|port| format!("_flow.l4.TCP.destination_port == {port}")).collect();
    assert!(fits(&format!("{} || _flow.verdict == 2", ports.join(" || ")), &tcp()));
    assert!(fits(&format!("!(0 in [{}])", vec!["1"; 500].join(", ")), &tcp()));
}

/// What would take ages fails instead, and so does its contrary: the steps are counted, whatever they are spent on.
#[test]
fn what_would_take_ages_does_not_fit() {
    let mut flow = tcp();
    let labels = (0..200).map(|number| format!("k8s:label-{number}={}", "x".repeat(50))).collect();
    flow.source.as_mut().unwrap().labels = labels;
    let doubled = ".map(x, x + x)".repeat(60);
    let nested: String = (0..12).map(|level| format!("_flow.source.labels.all(l{level}, ")).collect();
    for expression in [
        format!("_flow.source.labels{doubled}.all(x, x != '')"),
        format!("['{}']{doubled}.all(x, x != '')", "x".repeat(1000)),
        format!("{nested}true{}", ")".repeat(12)),
        "_flow.source.labels.map(a, _flow.source.labels).map(l, l + l).all(l, size(l) > 0)".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.all(b, _flow.source.labels.all(c, a + b + c != '')))"
            .to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.all(b, b.matches('(x+x+)+y') || true))".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels == _flow.source.labels)".to_owned(),
        "_flow.source.labels.all(a, a.matches('(?:[xy]?){900}x[xy]{900}[^xy]') || true)".to_owned(),
        "_flow.source.labels.all(a, _flow.source == _flow.source)".to_owned(),
        "_flow.source.labels.all(a, 'x'.matches(a) || true)".to_owned(),
        "_flow.source.labels.all(a, a.matches('(x+x+)' + '+y') || true)".to_owned(),
        format!("'x'.matches('{}' + '') || true", "\\\\w".repeat(100)),
        "_flow.source.labels.all(a, _flow.time.getHours('Europe/' + 'Madrid') >= 0)".to_owned(),
        "_flow.source.labels.all(a, _flow.source.labels.map(b, {a: b}) == _flow.source.labels.map(b, {a: b}))"
            .to_owned(),
        format!("{{{}}} == {{}} || true", (0..200).map(|key| format!("{key}: 0")).collect::<Vec<_>>().join(", ")),
    ] {
        assert!(!fits(&expression, &flow), "{expression}");
        assert!(!fits(&format!("!({expression})"), &flow), "{expression}");
    }
    // A walk over the same labels does, and so it does once more: each flow has its own steps.
    let walk =
        Filters::new(&[asking(&["_flow.source.labels.exists(l, l.startsWith('k8s:label-199='))"])], &[]).unwrap();
    for _ in 0..200 {
        assert!(walk.admit(&flow));
    }
}
