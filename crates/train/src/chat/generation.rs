//! The tag `generation` of transformers, which Jinja does not have: it stands around what the assistant wrote.
//!
//! Each tag becomes a block that always runs, with the same control of blanks, and a variable that prints a mark:
//!
//! ```text
//! {%- generation %}…{%- endgeneration -%}
//! {%- if true %}{{ begin }}{% if true %}…{%- endif %}{{ end }}{% endif -%}
//! ```

/// Names of the variables; no template has them.
pub(super) const MARKS: [&str; 2] = ["backpropane_answer_begins", "backpropane_answer_ends"];

/// `source` without the tag, and whether it had it.
pub(super) fn rewritten(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut found) = (source, false);
    while let Some(at) = rest.find("{%") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find("%}") else { break };
        let inside = &rest[2..end];
        let left = inside.strip_prefix(['-', '+']).map_or("", |_| &inside[..1]);
        let word = &inside[left.len()..];
        let right = word.strip_suffix(['-', '+']).map_or("", |_| &word[word.len() - 1..]);
        let (outer, mark, inner) = match word[..word.len() - right.len()].trim() {
            "generation" => ("if true", MARKS[0], "if true"),
            "endgeneration" => ("endif", MARKS[1], "endif"),
            _ => {
                out.push_str(&rest[..end + 2]);
                rest = &rest[end + 2..];
                continue;
            }
        };
        found = true;
        out.push_str(&format!("{{%{left} {outer} %}}{{{{ {mark} }}}}{{% {inner} {right}%}}"));
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    (out, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_their_control_of_blanks() {
        let (text, found) = rewritten("{% if x %}a{%- generation %}b{% endgeneration -%}{% endif %}{% c");
        assert!(found);
        let [begin, end] = MARKS;
        let want = format!(
            "{{% if x %}}a{{%- if true %}}{{{{ {begin} }}}}{{% if true %}}b{{% endif %}}{{{{ {end} }}}}{{% endif -%}}\
             {{% endif %}}{{% c"
        );
        assert_eq!(text, want);
        assert!(!rewritten("{{ '{% x' }} {%- set generation = 1 %}").1);
    }
}
