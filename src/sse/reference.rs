//! The standard's reading of an event stream, as simply as it can be put, for tests to compare with.

/// What the lines up to a blank one say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The lines with the fields `event`, `data` and `retry`.
    pub(super) kept: Vec<u8>,
    pub(super) name: String,
    /// None without a `data` field.
    pub(super) data: Option<String>,
    pub(super) id: Option<String>,
    pub(super) retry: Option<u64>,
}

/// The lines that are over. The whole stream at once.
pub(super) fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().unwrap().push(other),
        }
    }
    lines.pop();
    lines
}

/// All blocks whose blank line has come, the empty ones, too.
pub(super) fn blocks(stream: &[u8]) -> Vec<Said> {
    let mut said = Said::default();
    let mut blocks = Vec::new();
    for line in lines(stream) {
        if line.is_empty() {
            blocks.push(std::mem::take(&mut said));
            continue;
        }
        // Line ends are ASCII, so a line decodes by itself as it does within the whole.
        let text = String::from_utf8_lossy(&line).into_owned();
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut said.data {
                Some(data) => *data = format!("{data}\n{value}"),
                none => *none = Some(value.to_owned()),
            },
            "event" => said.name = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                said.retry = value.parse().ok().or(said.retry);
            }
            "id" if !value.contains('\0') => said.id = Some(value.to_owned()),
            _ => {}
        }
        if ["data", "event", "retry"].contains(&field) {
            said.kept.extend_from_slice(&line);
            said.kept.push(b'\n');
        }
    }
    blocks
}
