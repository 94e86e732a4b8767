//! A server of a few lines that hands out one image, rightly or as a test says; for tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use rs1_domain::hex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::http::Origin;

/// How one GET is answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// As the contract says.
    Right,
    /// So, but the connection is closed after so many bytes of the body.
    Breaks(usize),
    /// The whole image with 200, whatever was asked for.
    Whole,
    /// 503.
    Busy,
    /// That status and problem type.
    Denies(u16, &'static str),
    /// 206, with a range that begins elsewhere.
    Elsewhere,
    /// So, but with this header more.
    With(&'static str),
    /// So, but without an `ETag`.
    WithoutEtag,
}

/// The server, and what it was asked.
pub struct Shelf {
    /// Where it is.
    pub origin: Origin,
    state: Arc<State>,
}

struct State {
    image: Vec<u8>,
    answers: Mutex<VecDeque<Answer>>,
    /// Method and range of each request, and its connection's number.
    asked: Mutex<Vec<(String, usize)>>,
}

impl Shelf {
    /// Serves an image: GETs are answered as in `answers`, and rightly after those.
    pub async fn serve(image: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            image,
            answers: Mutex::new(answers.iter().copied().collect()),
            asked: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&serving), number));
                number += 1;
            }
        });
        Self { origin: Origin::parse(&format!("http://127.0.0.1:{port}")).unwrap(), state }
    }

    /// Its address.
    pub fn address(&self) -> String {
        let (host, port) = self.origin.address();
        format!("http://{host}:{port}")
    }

    /// What was asked: `HEAD`, `GET bytes=0-`, `GET bytes=4096- if "…"`.
    pub fn asked(&self) -> Vec<String> {
        self.requests().into_iter().map(|(what, _)| what).collect()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.requests().iter().map(|(_, number)| number + 1).max().unwrap_or(0)
    }

    fn requests(&self) -> Vec<(String, usize)> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The `ETag` that the image has.
    pub fn etag(&self) -> String {
        self.state.etag()
    }
}

impl State {
    fn etag(&self) -> String {
        format!("\"{}\"", hex::encode(&Sha256::digest(&self.image)))
    }

    fn next(&self) -> Answer {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Answer::Right)
    }

    /// The head of the answer, and the body.
    fn answer(&self, range: Option<&str>, answer: Answer) -> (String, &[u8]) {
        let image = self.image.as_slice();
        if let Answer::Busy | Answer::Denies(..) = answer {
            let (status, kind) =
                if let Answer::Denies(status, kind) = answer { (status, kind) } else { (503, "busy") };
            let problem = format!("{{\"type\":\"urn:rs1:problem:{kind}\"}}");
            let length = problem.len();
            return (format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\n\r\n{problem}"), &[]);
        }
        let size = image.len();
        let wanted =
            range.and_then(|range| range.strip_prefix("bytes=")).and_then(|range| range.split_once('-'));
        let mut head = String::new();
        let body = match wanted {
            Some((from, end)) if !matches!(answer, Answer::Whole) => {
                let from: usize = from.parse().unwrap();
                // The end is the last byte; one past the last byte of the image is clamped.
                let end = if end.is_empty() { size } else { (end.parse::<usize>().unwrap() + 1).min(size) };
                if from >= size {
                    return (
                        format!(
                            "HTTP/1.1 416 No\r\ncontent-length: 0\r\ncontent-range: bytes */{size}\r\n\r\n"
                        ),
                        &[],
                    );
                }
                let said = if matches!(answer, Answer::Elsewhere) { from + 1 } else { from };
                let _ =
                    write!(head, "HTTP/1.1 206 Part\r\ncontent-range: bytes {said}-{}/{size}\r\n", end - 1);
                &image[from..end]
            }
            _ => {
                head.push_str("HTTP/1.1 200 OK\r\n");
                image
            }
        };
        let _ = write!(head, "content-length: {}\r\n", body.len());
        if !matches!(answer, Answer::WithoutEtag) {
            let _ = write!(head, "etag: {}\r\n", self.etag());
        }
        if let Answer::With(header) = answer {
            let _ = write!(head, "{header}\r\n");
        }
        head.push_str("\r\n");
        (head, body)
    }
}

async fn converse(mut stream: TcpStream, state: Arc<State>, number: usize) {
    let mut unread = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if matches!(stream.read_buf(&mut unread).await, Ok(0) | Err(_)) {
                return;
            }
        };
        let head = String::from_utf8(unread.drain(..end + 4).take(end).collect()).unwrap();
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)))
        };
        assert_eq!(header("host").unwrap().1, "ota.localhost");
        let method = head.split(' ').next().unwrap();
        let mut asked = method.to_owned();
        let range = header("range").map(|(_, range)| range);
        for (word, value) in [("", range), ("if ", header("if-range").map(|(_, etag)| etag))] {
            if let Some(value) = value {
                let _ = write!(asked, " {word}{value}");
            }
        }
        state.asked.lock().unwrap_or_else(PoisonError::into_inner).push((asked, number));
        let answer = if method == "HEAD" { Answer::Right } else { state.next() };
        let (text, mut body) = state.answer(range, answer);
        if method == "HEAD" {
            body = &[];
        }
        let (sent, closes) = match answer {
            Answer::Breaks(after) => (after.min(body.len()), true),
            // A header may say that the body ends with the connection.
            Answer::With(_) => (body.len(), true),
            _ => (body.len(), false),
        };
        let written =
            stream.write_all(text.as_bytes()).await.is_ok() && stream.write_all(&body[..sent]).await.is_ok();
        if closes || !written {
            return;
        }
    }
}
