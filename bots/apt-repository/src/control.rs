//! Paragraphs of fields, as `control`, `.dsc` and `Release` files have them (Debian Policy 5.1).

use std::fmt;

/// Why a text isn't a paragraph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Nothing in it.
    #[error("it has no fields")]
    Empty,
    /// A line that is neither a field nor continues one.
    #[error("line {0} is not a field")]
    NotAField(usize),
    /// A byte that terminals or parsers could take for something else.
    #[error("line {0} has a control character")]
    ControlCharacter(usize),
    /// A line of blanks, which some parsers take for the paragraph's end.
    #[error("line {0} is blank")]
    Blank(usize),
    /// One field twice.
    #[error("the field {0} occurs twice")]
    Twice(String),
    /// A field is needed and not there.
    #[error("the field {0} is missing")]
    Missing(&'static str),
}

/// One paragraph: fields in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph {
    fields: Vec<Field>,
}

/// A field. Further lines of the value begin with the blank that they have in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name, as written.
    pub name: String,
    /// Value without the blanks around it.
    pub value: String,
}

impl Paragraph {
    /// A text that is one paragraph. Strict: what other parsers could read differently is refused.
    ///
    /// # Errors
    /// [`ControlError`] if it is not.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let mut paragraph = Self::default();
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            let number = index + 1;
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return Err(ControlError::ControlCharacter(number));
            }
            if line.trim().is_empty() {
                return Err(if text.trim().is_empty() {
                    ControlError::Empty
                } else {
                    ControlError::Blank(number)
                });
            }
            if line.starts_with([' ', '\t']) {
                let field = paragraph.fields.last_mut().ok_or(ControlError::NotAField(number))?;
                field.value.push('\n');
                field.value.push_str(line.trim_end());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(ControlError::NotAField(number))?;
            if name.is_empty() || name.starts_with(['#', '-']) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ControlError::NotAField(number));
            }
            if paragraph.get(name).is_some() {
                return Err(ControlError::Twice(name.to_owned()));
            }
            paragraph.fields.push(Field {
                name: name.to_owned(),
                value: value.trim().to_owned(),
            });
        }
        Ok(paragraph)
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_str())
    }

    /// The value of a field that has to be there.
    ///
    /// # Errors
    /// [`ControlError::Missing`] if it isn't, or is empty.
    pub fn require(&self, name: &'static str) -> Result<&str, ControlError> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or(ControlError::Missing(name))
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    /// Add a field at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push(Field {
            name: name.to_owned(),
            value: value.into(),
        });
    }
}

impl fmt::Display for Paragraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Field { name, value } in &self.fields {
            // A value that begins on the next line leaves no blank behind.
            let blank = if value.is_empty() || value.starts_with('\n') {
                ""
            } else {
                " "
            };
            writeln!(f, "{name}:{blank}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_lines() {
        let text = "Package: hello\nDepends: a,\n b\nDescription: short\n long\n .\n  verbatim\nFiles:\n abc 1 x\n";
        let paragraph = Paragraph::parse(text).unwrap();
        assert_eq!(paragraph.get("package"), Some("hello"));
        assert_eq!(paragraph.get("Description"), Some("short\n long\n .\n  verbatim"));
        assert_eq!(paragraph.to_string(), text);
        assert_eq!(paragraph.require("Version"), Err(ControlError::Missing("Version")));
    }

    #[test]
    fn what_other_parsers_could_read_differently_is_refused() {
        use ControlError::*;
        for (text, error) in [
            ("", Empty),
            ("\n\n", Empty),
            (" continued: nothing", NotAField(1)),
            ("Package hello", NotAField(1)),
            (": x", NotAField(1)),
            ("#Package: x", NotAField(1)),
            ("Pack age: x", NotAField(1)),
            ("Package: a\n\nPackage: b", Blank(2)),
            ("Package: a\n \nVersion: b", Blank(2)),
            ("Package: a\r\nVersion: b", ControlCharacter(1)),
            ("Package: a\0", ControlCharacter(1)),
            ("Package: a\npackage: b", Twice("package".to_owned())),
        ] {
            assert_eq!(Paragraph::parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(\\PC|[\\x00-\\x20:\n]){0,200}") {
            let _ = Paragraph::parse(&text);
        }

        #[test]
        fn printing_and_parsing_are_inverse(
            names in prop::collection::btree_set("[A-Za-z][A-Za-z0-9-]{0,8}", 1..8),
            values in prop::collection::vec("(\\S(.{0,10}\\S)?)?(\n \\S.{0,9}\\S){0,3}", 8),
        ) {
            let mut paragraph = Paragraph::default();
            let mut seen = std::collections::BTreeSet::new();
            for (name, value) in names.iter().zip(values) {
                let clean = !value.chars().any(|c| c.is_control() && c != '\n') && value.trim_end() == value;
                // Blanks of Unicode at the edges are trimmed away.
                let trimmed = value.split('\n').all(|line| line.trim_end() == line);
                if clean && trimmed && value.trim_start_matches('\n') == value.trim_start() && seen.insert(name.to_lowercase()) {
                    paragraph.push(name, value);
                }
            }
            prop_assume!(paragraph.fields().next().is_some());
            prop_assert_eq!(Paragraph::parse(&paragraph.to_string()), Ok(paragraph));
        }
    }
}
