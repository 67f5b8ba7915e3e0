//! The Assuan protocol, as gpg-agent's clients speak it: lines over a Unix socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net;
use zeroize::Zeroizing;

/// What the protocol allows on a line.
pub(super) const LONGEST: usize = 1000;

/// The same with a line end.
const LONGEST_LINE: usize = LONGEST + 2;

/// A signature by RSA of 16384 bits takes 2 KiB, escaped three times as much.
const MOST_DATA: usize = 64 << 10;

/// The low half of an error's number says what failed, bits 24 to 30 in which program (libgpg-error).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u32,
    /// The agent's words.
    pub text: String,
}

impl Refusal {
    /// What failed, as in gpg-error.h.
    pub fn reason(&self) -> u32 {
        self.code & 0xffff
    }

    /// In which program.
    pub fn source(&self) -> u32 {
        (self.code >> 24) & 0x7f
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum AssuanError {
    /// The agent says no.
    Refused(Refusal),
    /// The connection broke, or nobody answered in time.
    Io(io::Error),
}

impl From<io::Error> for AssuanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl AssuanError {
    /// Nobody answered in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
    }
}

/// What came before the `OK`.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The `D` lines, decoded.
    pub data: Vec<u8>,
    /// The `S` lines.
    pub status: Vec<String>,
}

/// A line of the server.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Ok,
    Err(Refusal),
    Data(Vec<u8>),
    Status(String),
    Inquire(String),
    Comment,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (line.get(..space)?, line.get(space + 1..)?),
            None => (line, &b""[..]),
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Some(match word {
            b"OK" => Self::Ok,
            b"ERR" => {
                let text = text();
                let (code, words) = text.split_once(' ').unwrap_or((&text, ""));
                Self::Err(Refusal {
                    code: code.parse().ok()?,
                    text: words.to_owned(),
                })
            }
            b"D" => Self::Data(unescape(rest)?),
            b"S" => Self::Status(text()),
            b"INQUIRE" => Self::Inquire(text()),
            _ if line.is_empty() || line.starts_with(b"#") => Self::Comment,
            _ => return None,
        })
    }
}

/// Takes `%0A` and the like out.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        bytes.extend_from_slice(&byte);
        rest = after;
    }
    Some(bytes)
}

/// A text as one word of a command: blanks and control characters escaped.
pub(super) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for character in text.chars() {
        push_escaped(&mut word, character);
    }
    word
}

/// The same of as much of the text as fits into so many bytes, and an ellipsis if that is not all.
pub(super) fn word_of_at_most(text: &str, most: usize) -> String {
    const ELLIPSIS: char = '…';
    let whole = word(text);
    if whole.len() <= most {
        return whole;
    }
    let mut cut = String::with_capacity(most);
    for character in text.chars() {
        let before = cut.len();
        push_escaped(&mut cut, character);
        if cut.len() + ELLIPSIS.len_utf8() > most {
            cut.truncate(before);
            break;
        }
    }
    cut.push(ELLIPSIS);
    cut
}

fn push_escaped(word: &mut String, character: char) {
    match character {
        ' ' => word.push('+'),
        '%' | '+' => *word += &format!("%{:02X}", u32::from(character)),
        _ if character.is_control() => {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                *word += &format!("%{byte:02X}");
            }
        }
        _ => word.push(character),
    }
}

/// The data lines with a secret, to be wiped.
fn secret_data(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    /// As many bytes as always fit on a line.
    const PIECE: usize = (LONGEST - 2) / 3;
    // Reserved at once, so that no copy is left behind by growing.
    let lines = secret.len() / PIECE + 1;
    let mut data = Zeroizing::new(Vec::with_capacity(secret.len() * 3 + lines * 3 + 4));
    for piece in secret.chunks(PIECE) {
        data.extend_from_slice(b"D ");
        for byte in piece {
            match byte {
                b'%' | b'\r' | b'\n' => {
                    let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
                    data.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
                }
                byte => data.push(*byte),
            }
        }
        data.push(b'\n');
    }
    data.extend_from_slice(b"END\n");
    data
}

/// A connection to an Assuan server. Its reads and writes end at a deadline.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    deadline: Instant,
}

impl Connection {
    /// Connects and takes the server's greeting.
    ///
    /// # Errors
    /// [`io::Error`] as of `connect`, [`AssuanError::Refused`] if the server turns clients away.
    pub fn open(socket: &Path, limit: Duration) -> Result<Self, AssuanError> {
        let deadline = Instant::now() + limit;
        let mut connection = Self {
            stream: BufReader::new(connect(socket, limit)?),
            deadline,
        };
        connection.answer(&mut |_| None)?;
        Ok(connection)
    }

    /// Gives what follows so much time from now.
    pub fn allow(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }

    /// Sends a command, which must not have line ends in it, and collects the answer.
    pub fn command(&mut self, command: &str) -> Result<Answer, AssuanError> {
        self.command_answering(command, &mut |_| None)
    }

    /// As [`Connection::command`], with an answer to what the server inquires. Without one the inquiry is cancelled.
    pub fn command_answering(
        &mut self,
        command: &str,
        inquiry: &mut dyn FnMut(&str) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Answer, AssuanError> {
        self.send(command.as_bytes())?;
        self.send(b"\n")?;
        self.answer(inquiry)
    }

    fn answer(&mut self, inquiry: &mut dyn FnMut(&str) -> Option<Zeroizing<Vec<u8>>>) -> Result<Answer, AssuanError> {
        let mut answer = Answer::default();
        loop {
            match self.line()? {
                Line::Ok => return Ok(answer),
                Line::Err(refusal) => return Err(AssuanError::Refused(refusal)),
                Line::Data(data) => {
                    if answer.data.len() + data.len() > MOST_DATA {
                        return Err(invalid("the agent sends too much data"));
                    }
                    answer.data.extend_from_slice(&data);
                }
                Line::Status(status) => {
                    if answer.status.len() >= MOST_DATA / LONGEST_LINE {
                        return Err(invalid("the agent sends too many status lines"));
                    }
                    answer.status.push(status);
                }
                Line::Inquire(what) => match inquiry(&what) {
                    Some(secret) => self.send(&secret_data(&secret))?,
                    None => self.send(b"CAN\n")?,
                },
                Line::Comment => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left()?;
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(left))?;
        stream.write_all(bytes)
    }

    fn line(&mut self) -> Result<Line, AssuanError> {
        let mut line = Vec::new();
        loop {
            let left = self.left()?;
            self.stream.get_mut().set_read_timeout(Some(left))?;
            let available = self.stream.fill_buf()?;
            if available.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            line.extend_from_slice(available.get(..taken).unwrap_or_default());
            self.stream.consume(end.map_or(taken, |end| end + 1));
            if line.len() > LONGEST_LINE {
                return Err(invalid("the agent's line is too long"));
            }
            if end.is_some() {
                return Line::parse(&line).ok_or_else(|| invalid("the agent does not speak Assuan"));
            }
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

/// A connection, if the server has room for one in time: one that is stopped has none once enough clients wait for it.
fn connect(socket: &Path, limit: Duration) -> io::Result<UnixStream> {
    let unconnected = net::socket_with(
        net::AddressFamily::UNIX,
        net::SocketType::STREAM,
        net::SocketFlags::CLOEXEC,
        None,
    )?;
    let stream = UnixStream::from(unconnected);
    // Linux waits as long to connect as it does to write, and says EAGAIN then.
    stream.set_write_timeout(Some(limit))?;
    let address = net::SocketAddrUnix::new(socket)?;
    rustix::io::retry_on_intr(|| net::connect(&stream, &address))?;
    Ok(stream)
}

fn invalid(what: &'static str) -> AssuanError {
    io::Error::new(io::ErrorKind::InvalidData, what).into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// A server that greets, reads one line for each of the answers, and says what it has read.
    fn server(answers: &'static [&'static [u8]]) -> (tempfile::TempDir, thread::JoinHandle<String>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("S")).unwrap();
        let served = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut read = String::new();
            reader.get_mut().write_all(b"OK Pleased to meet you\n").unwrap();
            for answer in answers {
                reader.read_line(&mut read).unwrap();
                reader.get_mut().write_all(answer).unwrap();
            }
            let _ = reader.read_to_string(&mut read);
            read
        });
        (directory, served)
    }

    fn open(directory: &tempfile::TempDir) -> Connection {
        Connection::open(&directory.path().join("S"), Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn data_and_status_lines_are_collected_up_to_ok() {
        let (directory, _) = server(&[b"# comment\nS KEYINFO x\nD a%0Ab%25\nD c\nOK\n"]);
        let answer = open(&directory).command("PKSIGN").unwrap();
        assert_eq!(
            (answer.data.as_slice(), answer.status),
            (&b"a\nb%c"[..], vec!["KEYINFO x".to_owned()])
        );
    }

    #[test]
    fn a_refusal_has_its_reason_and_its_program() {
        let (directory, _) = server(&[b"ERR 83918950 Inappropriate ioctl for device <Pinentry>\n"]);
        let Err(AssuanError::Refused(refusal)) = open(&directory).command("PKSIGN") else {
            panic!("not refused");
        };
        assert_eq!((refusal.source(), refusal.reason()), (5, 0x8000 | 102));
        assert_eq!(refusal.text, "Inappropriate ioctl for device <Pinentry>");
    }

    #[test]
    fn an_inquiry_is_answered_once_and_a_strange_one_cancelled() {
        let (directory, served) = server(&[
            b"S INQUIRE_MAXLEN 255\nINQUIRE PASSPHRASE\n",
            b"",
            b"INQUIRE OTHER\n",
            b"OK\n",
        ]);
        let mut connection = open(&directory);
        let mut answer = |what: &str| (what == "PASSPHRASE").then(|| Zeroizing::new(b"50%\n".to_vec()));
        connection.command_answering("PKSIGN", &mut answer).unwrap();
        drop(connection);
        assert_eq!(served.join().unwrap(), "PKSIGN\nD 50%25%0A\nEND\nCAN\n");
    }

    #[test]
    fn a_server_that_is_silent_floods_or_babbles_is_left() {
        let (directory, _served) = server(&[b""]);
        let mut connection = open(&directory);
        connection.allow(Duration::from_millis(100));
        assert!(connection.command("PKSIGN").unwrap_err().is_timeout());
        let (directory, _) = server(&[&[b'x'; 5000]]);
        assert!(
            matches!(open(&directory).command("X"), Err(AssuanError::Io(error)) if error.kind() == io::ErrorKind::InvalidData)
        );
        let (directory, _) = server(&[b"HTTP/1.1 200\n"]);
        assert!(
            matches!(open(&directory).command("X"), Err(AssuanError::Io(error)) if error.kind() == io::ErrorKind::InvalidData)
        );
    }

    #[test]
    fn a_server_with_more_clients_than_it_takes_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("S");
        let listener = net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None).unwrap();
        net::bind(&listener, &net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        net::listen(&listener, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        thread::spawn(move || ended.send(Connection::open(&path, Duration::from_millis(200)).err()));
        let error = end.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        assert!(error.is_timeout(), "{error:?}");
    }

    #[test]
    fn words_have_no_blanks_and_no_line_ends() {
        assert_eq!(word("a b\n100% +é"), "a+b%0A100%25+%2Bé");
    }

    proptest! {
        #[test]
        fn a_long_text_is_cut_between_two_characters(text in "[a %\n+é…]{0,60}", most in 3..40_usize) {
            let cut = word_of_at_most(&text, most);
            prop_assert!(cut.len() <= most);
            let whole = word(&text);
            match cut.strip_suffix('…').filter(|_| whole != cut) {
                Some(start) => prop_assert!(whole.len() > most && whole.starts_with(start)),
                None => prop_assert_eq!(cut, whole),
            }
        }

        #[test]
        fn any_secret_fits_on_its_lines(secret in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let lines = secret_data(&secret);
            let mut data = Vec::new();
            for line in lines.strip_suffix(b"END\n").unwrap().split_inclusive(|byte| *byte == b'\n') {
                prop_assert!(line.len() <= 1001, "{} bytes", line.len());
                let line = line.strip_prefix(b"D ").unwrap().strip_suffix(b"\n").unwrap();
                data.extend(unescape(line).unwrap());
            }
            prop_assert_eq!(data, secret);
        }

        #[test]
        fn parsing_anything_never_panics(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Line::parse(&line);
        }
    }
}
