//! The reference of all keys, from the words beside them.

use super::{RawConfig, RawDkim, RawRelay};
use schemars::{Schema, schema_for};
use serde_json::Value;

/// `spec/configuration.md`.
pub fn reference() -> String {
    let [all, relay, dkim] = [schema_for!(RawConfig), schema_for!(RawRelay), schema_for!(RawDkim)];
    format!("{HEAD}{}{RELAYS}{}{DKIM}{}", rows(&all), rows(&relay), rows(&dkim))
}

fn rows(schema: &Schema) -> String {
    let keys = schema.get("properties").and_then(Value::as_object);
    let row = |(key, about): (&String, &Value)| {
        let words = about["description"].as_str().unwrap_or_default();
        format!("| `{key}` | {} | {} |\n", kind(about), words.replace('\n', " "))
    };
    keys.into_iter().flatten().map(row).collect()
}

const HEAD: &str = "# Configuration

`postroom serve --config FILE` reads a file in TOML. Every key is optional, one that isn't here is an error, and what the
command line names wins. `postroom config check --config FILE` names all that is wrong with a file, without a server.
`postroom config reference` prints this text.

A network is written `10.0.0.0/8` or `fd00::/8`, or is one address. An address to listen on is written
`127.0.0.1:8080` or `[::1]:8080`.

| key | kind | |
|---|---|---|
";

const RELAYS: &str = "
Each `[[relays]]`:

| key | kind | |
|---|---|---|
";

const DKIM: &str = "
Each `[[dkim]]`, all keys of which are needed:

| key | kind | |
|---|---|---|
";

/// A key's kind in TOML's words.
fn kind(about: &Value) -> &'static str {
    let is = |kind: &str| match &about["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    };
    if is("array") && about["items"].get("$ref").is_some() {
        "array of tables"
    } else if is("array") {
        "array of strings"
    } else if is("integer") {
        "integer"
    } else if is("boolean") {
        "boolean"
    } else {
        "string"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `UPDATE_EXAMPLES=1 cargo test --lib reference` writes the file.
    #[test]
    fn the_reference_in_spec_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/configuration.md");
        let text = reference();
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text);
    }

    #[test]
    fn each_key_has_its_words_and_its_kind() {
        let text = reference();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() > 30, "{text}");
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() == 3 && cells[2].len() > 12, "{row}");
        }
        assert!(text.contains("| `http_wait_seconds` | integer | "));
        assert!(text.contains("| `proxies` | array of strings | "));
        assert!(text.contains("| `relays` | array of tables | "));
        assert!(text.contains("| `smtp_login` | boolean | "));
        assert!(text.contains("| `tls_key` | string | "));
    }
}
