//! What is no expression is refused, and why.

use super::*;

/// Each with words that the refusal has.
#[test]
fn mistakes_are_named_with_their_place() {
    let mut others = Vec::new();
    for (expression, words) in [
        ("", "column"),
        ("_flow.verdict ==", "line 1, column 17"),
        ("_flow.verdict\n  == )", "line 2, column 6"),
        ("something-invalid", "nothing is called something"),
        ("flow.verdict == 1", "the flow is _flow"),
        ("_flow", "is flow.Flow, which is neither true nor false"),
        ("_flow.source.labels", "is list(string)"),
        ("_flow.verdict", "is int"),
        ("_flow.verdikt == 1", "flow.Flow has no field verdikt"),
        ("_flow.ip.source == ''", "flow.Flow has no field ip"),
        ("_flow.l4.TCP.port == 1", "flow.TCP has no field port"),
        ("_flow.verdict.name == ''", ".name: int has no fields"),
        ("has(_flow.sauce)", "flow.Flow has no field sauce"),
        ("has(_flow)", "has()"),
        ("_flow.verdict == Verdict.DROPED", "nothing is called Verdict"),
        ("_flow.verdict == 'DROPPED'", "== is nothing that can be done with int, string"),
        ("_flow.l4.TCP.flags.SYN == 1", "== is nothing that can be done with bool, int"),
        ("1 + 'a' == 2", "+ is nothing that can be done with int, string"),
        ("_flow.verdict && true", "&& is nothing that can be done with int, bool"),
        ("!_flow.verdict", "! is nothing that can be done with int"),
        ("_flow.uuid.frob()", "no method frob"),
        ("frob(1)", "no function frob"),
        ("type(1) == 1", "== is nothing that can be done with type, int"),
        ("type(1, 2) == int", "no function type"),
        ("1.type() == int", "no method type"),
        ("contains('a', 'b')", "contains"),
        ("_flow.source.labels.exists(l, l == 1)", "== is nothing that can be done with string, int"),
        ("_flow.uuid.exists(l, true)", "string is no list, nor a map,"),
        ("_flow.source.labels.exists(l.x, true)", "simple name"),
        ("[1].exists(_flow, true)", "_flow: not a name"),
        ("_flow.Summary.matches('(')", "is no regular expression"),
        ("_flow.Summary.matches('(a{1000}){1000}')", "is no regular expression"),
        ("_flow.Summary.matches(1)", "matches is nothing that can be done with string, int"),
        ("{'a': 1}[1] == 1", "is nothing that can be done with map(string, int), int"),
        ("{1: 1}.a == 1", ".a: the keys of that map are int"),
        ("{1.5: 1} == {}", "double is no key of a map"),
        ("{'a': 1}['a'] == 'b'", "== is nothing that can be done with int, string"),
        ("1 in {'a': 1}", "in is nothing that can be done with int, map(string, int)"),
        ("_flow.l4.TCP.flags == TCPFlags{SYN: true}", "TCPFlags: messages can't be made"),
        ("b'a' == 'a'", "== is nothing that can be done with bytes, string"),
        ("_flow.time.getHours('Europe/Atlantis') == 1", "there is no time zone \"Europe/Atlantis\""),
        ("_flow.time.getHours('+25:00') == 1", "there is no time zone \"+25:00\""),
        ("_flow.time.getHours(1) == 1", "getHours is nothing that can be done with timestamp, int"),
        ("duration('1h').getHours('UTC') == 1", "getHours is nothing that can be done with duration, string"),
        ("true ? 1 : 'a'", "? : is nothing"),
        ("1 < 'a'", "<"),
    ] {
        let reason = refusal(expression);
        if !reason.contains(words) || !reason.contains(&format!("{expression:?}")) {
            others.push((words, reason));
        }
    }
    assert_eq!(others, []);
}
