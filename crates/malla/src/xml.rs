//! Text inside of XML documents.

/// XML 1.0 §2.4; what no document may hold (§2.2) is left out.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_parser_reads_what_was_written(text in "[\\x00-@a\\x7f-\\u{a0}é\\u{fffe}\\u{ffff}]*") {
            let document = format!("<a b=\"{0}\">{0}</a>", escaped(&text));
            let read = roxmltree::Document::parse(&document).unwrap();
            let may_be = |c: &char| matches!(c, '\n' | '\t') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
            let wanted: String = text.chars().filter(may_be).collect();
            prop_assert_eq!(read.root_element().text().unwrap_or_default(), wanted);
        }
    }
}
