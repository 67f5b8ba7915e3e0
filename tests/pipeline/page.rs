//! Pages of the documentation, whose commands are tests.

/// Fenced blocks of a page: what follows the opening fence, and the text.
pub fn code_blocks(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap())
}
