//! The tags `{% generation %} … {% endgeneration %}` of transformers' jinja2: they mark what the model says, for training on it
//! alone. Which tokens those are Hone finds by rendering the conversation with and without the answer.

/// The template with the tags as blocks that are always written.
pub(super) fn without_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((inside, after)) = tag.split_once("%}") else { break };
        let word = inside.trim_matches(['-', '+']).trim();
        let plain = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        };
        let inside =
            if plain == word { inside.to_owned() } else { inside.replacen(word, plain, 1) };
        for part in [before, "{%", &inside, "%}"] {
            out.push_str(part);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
