//! The download of an image over HTTP, as `esp_https_ota` goes about it: a HEAD for the size, then a GET with a
//! `Range`, from `bytes=0-` on, over one connection that is kept; reads of a fixed size; and after a cut a GET
//! from where the flash ends, with `If-Range`. It wants 206: at a 200 it begins again with what comes.
//!
//! What the contract (section 5) promises an ESP32 of HTTP and an answer does not keep is noted as a
//! *breach*, also where this client could live with it.
//!
//! On this machine the address of an image is that of a virtual host, and TLS ends before the workers: an
//! `https` address of a `.localhost` host is asked for in plain HTTP where the API is.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, HeaderName, IF_RANGE, RANGE,
    TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rs1_domain::hex;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::flash::Flash;
use crate::http::Origin;

/// What is read at once, as the firmware's HTTP buffer.
const READ: usize = 4_096;
/// How long a connection, an answer or a read may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest refusal that is read for its problem type.
const REFUSAL: usize = 64 * 1024;
/// The largest image that a partition has room for.
const PARTITION: u64 = 16 * 1024 * 1024;
const AGENT: &str = "ESP32 HTTP Client/1.0";

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    server: Origin,
    host: String,
    path: String,
}

impl Place {
    /// Reads the address in a manifest. `local` is where the virtual hosts of this machine are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str, local: &Origin) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").ok_or("url is not https")?;
        let at = rest.find('/').ok_or("url has no path")?;
        let (host, path) = rest.split_at(at);
        let name = host.split(':').next().unwrap_or_default();
        if name != "localhost" && !name.ends_with(".localhost") {
            return Err(format!("{name} is not on this machine"));
        }
        Ok(Self { server: local.clone(), host: host.to_owned(), path: path.to_owned() })
    }
}

/// Why a download ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection broke, or the server cannot answer now: to be tried again.
    Broken(String),
    /// The connection was cut, because that was asked for.
    Cut,
    /// The server does not give the image: asking again is no use.
    Refused {
        /// Its status.
        status: u16,
        /// The last part of the problem's type, if there is one.
        kind: Option<String>,
    },
}

/// Someone who watches a download.
pub trait Watch {
    /// So many bytes came.
    fn came(&mut self, bytes: u64, flash: &Flash);
    /// The server answered 200 to a range, and so many bytes are for nothing.
    fn restarted(&mut self, lost: u64);
    /// An answer is not as the contract says.
    fn breach(&mut self, what: &str);
}

/// What of an image is known before its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its size in bytes.
    pub size: u64,
    /// Its entity tag, for `If-Range`.
    etag: Option<String>,
}

/// One client, and its connection while that stands.
pub struct Client {
    place: Place,
    /// The largest range to ask for; `None` asks for all the rest.
    request: Option<u64>,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// A client without a connection.
    pub fn new(place: Place, request: Option<u64>) -> Self {
        Self { place, request, connection: None }
    }

    /// Asks how large the image is.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn head(&mut self, sha256: &[u8; 32], watch: &mut impl Watch) -> Result<Announced, Fault> {
        let answer = self.ask(Method::HEAD, Vec::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(answer).await);
        }
        check_headers(&answer, sha256, watch);
        let size = number(&answer, &CONTENT_LENGTH).filter(|size| (1..=PARTITION).contains(size));
        let size =
            size.ok_or_else(|| Fault::Broken("HEAD tells no size, or one that does not fit".to_owned()))?;
        Ok(Announced { size, etag: text(&answer, &ETAG).map(str::to_owned) })
    }

    /// Downloads what the flash does not hold yet. At byte `cut`, the connection is cut instead.
    ///
    /// # Errors
    /// When it ends before the flash is full; what came is in the flash.
    pub async fn fetch(
        &mut self,
        flash: &mut Flash,
        announced: &Announced,
        sha256: &[u8; 32],
        cut: Option<u64>,
        watch: &mut impl Watch,
    ) -> Result<(), Fault> {
        while !flash.is_full() {
            let from = flash.offset();
            let mut headers = vec![(RANGE, self.range(from, announced.size))];
            if let (Some(etag), true) = (&announced.etag, from > 0) {
                headers.push((IF_RANGE, etag.clone()));
            }
            let answer = self.ask(Method::GET, headers).await?;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let expected = self.content_range(from, announced.size);
                    if text(&answer, &CONTENT_RANGE) != Some(expected.as_str()) {
                        let found = text(&answer, &CONTENT_RANGE).unwrap_or("none").to_owned();
                        watch.breach(&format!("Content-Range: {found} where {expected} was asked for"));
                        self.connection = None;
                        return Err(Fault::Broken("another range than was asked for".to_owned()));
                    }
                }
                StatusCode::OK => {
                    watch.breach("200 to a range");
                    watch.restarted(flash.erase());
                }
                _ => return Err(self.refused(answer).await),
            }
            check_headers(&answer, sha256, watch);
            self.read(answer, flash, cut, watch).await?;
        }
        Ok(())
    }

    /// The range to ask for. A last one of limited size ends one past the last byte: `esp_https_ota` does so.
    fn range(&self, from: u64, size: u64) -> String {
        let end = self.request.and_then(|length| from.checked_add(length)).map(|end| end.min(size));
        match end {
            None => format!("bytes={from}-"),
            Some(end) if end == size => format!("bytes={from}-{size}"),
            Some(end) => format!("bytes={from}-{}", end.saturating_sub(1)),
        }
    }

    fn content_range(&self, from: u64, size: u64) -> String {
        let end = self.request.and_then(|length| from.checked_add(length)).unwrap_or(size).min(size);
        format!("bytes {from}-{}/{size}", end.saturating_sub(1))
    }

    async fn read(
        &mut self,
        answer: Response<Incoming>,
        flash: &mut Flash,
        cut: Option<u64>,
        watch: &mut impl Watch,
    ) -> Result<(), Fault> {
        let mut left = number(&answer, &CONTENT_LENGTH);
        let mut body = answer.into_body();
        loop {
            let frame = match timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(self.broken(&error)),
                Err(_) => return Err(self.broken(&"no byte for half a minute")),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            let before_cut = cut.map_or(u64::MAX, |at| at.saturating_sub(flash.reached()));
            let taken = usize::try_from(before_cut).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.slice(..taken);
            let length = bytes.len() as u64;
            left = left.map(|left| left.saturating_sub(length));
            flash.write(&bytes);
            watch.came(length, flash);
            if cut.is_some_and(|at| flash.reached() >= at) {
                // Closed without a word, as by a radio that lost its network.
                self.connection = None;
                return Err(Fault::Cut);
            }
        }
        if left.is_some_and(|left| left > 0) {
            return Err(self.broken(&"the body is shorter than Content-Length"));
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        method: Method,
        headers: Vec<(HeaderName, String)>,
    ) -> Result<Response<Incoming>, Fault> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.sender.is_closed() => kept,
            _ => self.connect().await.map_err(|error| Fault::Broken(format!("{error:#}")))?,
        };
        let asked = timeout(PATIENCE, async {
            connection.sender.ready().await?;
            let mut request = hyper::Request::builder()
                .method(method)
                .uri(&self.place.path)
                .header(HOST, &self.place.host)
                .header(USER_AGENT, AGENT);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            anyhow::Ok(connection.sender.send_request(request.body(Empty::new())?).await?)
        });
        match asked.await {
            Ok(Ok(answer)) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Ok(Err(error)) => Err(Fault::Broken(format!("{error:#}"))),
            Err(_) => Err(Fault::Broken("no answer for half a minute".to_owned())),
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let connecting = async {
            let stream = TcpStream::connect(self.place.server.address()).await?;
            let (sender, connection) =
                http1::Builder::new().read_buf_exact_size(Some(READ)).handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(async move {
                // Whoever asked is told of it by the answer that does not come.
                let _ = connection.await;
            });
            anyhow::Ok(Connection { sender, driver: driver.abort_handle() })
        };
        timeout(PATIENCE, connecting).await.context("no connection for half a minute")?
    }

    /// What an answer that is not the image means.
    async fn refused(&mut self, answer: Response<Incoming>) -> Fault {
        let status = answer.status();
        let body = timeout(PATIENCE, Limited::new(answer.into_body(), REFUSAL).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        let problem: serde_json::Value =
            body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        let kind = problem.get("type").and_then(serde_json::Value::as_str);
        let kind = kind.and_then(|kind| kind.rsplit([':', '/']).next()).map(str::to_owned);
        if status.is_client_error() {
            return Fault::Refused { status: status.as_u16(), kind };
        }
        Fault::Broken(format!("the server answers {}", status.as_u16()))
    }

    fn broken(&mut self, why: &dyn std::fmt::Display) -> Fault {
        self.connection = None;
        Fault::Broken(why.to_string())
    }
}

/// What every answer with the image, or with a part of it, must say.
fn check_headers(answer: &Response<Incoming>, sha256: &[u8; 32], watch: &mut impl Watch) {
    if number(answer, &CONTENT_LENGTH).is_none() {
        watch.breach("no Content-Length");
    }
    if answer.headers().contains_key(TRANSFER_ENCODING) {
        watch.breach("Transfer-Encoding");
    }
    if answer.headers().contains_key(CONTENT_ENCODING) {
        watch.breach("Content-Encoding");
    }
    let etag = format!("\"{}\"", hex::encode(sha256));
    if text(answer, &ETAG) != Some(etag.as_str()) {
        watch.breach("ETag is not the SHA-256");
    }
}

fn text<'a>(answer: &'a Response<Incoming>, name: &HeaderName) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn number(answer: &Response<Incoming>, name: &HeaderName) -> Option<u64> {
    text(answer, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::ota::flash::SECTOR;
    use crate::ota::image::example::Recipe;
    use crate::ota::shelf::{Answer, Shelf};

    const SIZE: usize = 20_000;

    #[derive(Default)]
    struct Seen {
        came: u64,
        lost: u64,
        breaches: Vec<String>,
    }

    impl Watch for Seen {
        fn came(&mut self, bytes: u64, _: &Flash) {
            assert!(bytes <= READ as u64, "reads are of a fixed size");
            self.came += bytes;
        }

        fn restarted(&mut self, lost: u64) {
            self.lost += lost;
        }

        fn breach(&mut self, what: &str) {
            self.breaches.push(what.to_owned());
        }
    }

    struct World {
        shelf: Shelf,
        client: Client,
        sha256: [u8; 32],
        flash: Flash,
        announced: Announced,
        seen: Seen,
    }

    /// A client that has asked for the size.
    async fn world(answers: &[Answer], request: Option<u64>) -> World {
        let image = Recipe { length: SIZE, ..Recipe::default() }.bake();
        let sha256 = Sha256::digest(&image).into();
        let shelf = Shelf::serve(image, answers).await;
        let place =
            Place::parse("https://ota.localhost/firmware/rs1_pro/1.3.0.bin?sig=x", &shelf.origin).unwrap();
        let (mut client, mut seen) = (Client::new(place, request), Seen::default());
        let announced = client.head(&sha256, &mut seen).await.unwrap();
        World { shelf, client, sha256, flash: Flash::new(announced.size), announced, seen }
    }

    impl World {
        async fn fetch(&mut self, cut: Option<u64>) -> Result<(), Fault> {
            let Self { client, flash, announced, sha256, seen, .. } = self;
            client.fetch(flash, announced, sha256, cut, seen).await
        }

        fn is_right(&self) -> bool {
            self.flash.finish().is_some_and(|written| written.whole == self.sha256)
        }
    }

    #[tokio::test]
    async fn an_image_comes_in_one_range_over_one_connection() {
        let mut world = world(&[], None).await;
        world.fetch(None).await.unwrap();
        assert!(world.is_right());
        assert_eq!(world.shelf.asked(), ["HEAD", "GET bytes=0-"]);
        assert_eq!(world.shelf.connections(), 1, "it is kept");
        assert_eq!(world.seen.came, SIZE as u64);
        assert_eq!(world.seen.breaches, [""; 0]);
    }

    #[tokio::test]
    async fn ranges_of_a_size_end_one_past_the_last_byte() {
        let mut world = world(&[], Some(8_192)).await;
        world.fetch(None).await.unwrap();
        assert!(world.is_right());
        let etag = world.shelf.etag();
        let expected =
            ["HEAD", "GET bytes=0-8191", "GET bytes=8192-16383 if @", "GET bytes=16384-20000 if @"];
        assert_eq!(world.shelf.asked(), expected.map(|asked| asked.replace('@', &etag)));
        assert_eq!(world.shelf.connections(), 1);
        assert_eq!(world.seen.breaches, [""; 0]);
    }

    #[tokio::test]
    async fn after_a_cut_it_goes_on_where_the_flash_ends_and_less_than_a_sector_comes_again() {
        let mut world = world(&[], None).await;
        assert_eq!(world.fetch(Some(9_000)).await, Err(Fault::Cut));
        assert_eq!(world.flash.offset(), 8_192);
        let again = world.flash.lose();
        assert!(again < SECTOR as u64, "{again}");
        world.fetch(None).await.unwrap();
        assert!(world.is_right());
        let etag = world.shelf.etag();
        assert_eq!(
            world.shelf.asked(),
            ["HEAD".to_owned(), "GET bytes=0-".to_owned(), format!("GET bytes=8192- if {etag}")]
        );
        assert_eq!(world.shelf.connections(), 2, "the first was closed");
        assert_eq!(world.seen.came, SIZE as u64 + again);
    }

    #[tokio::test]
    async fn what_breaks_by_itself_and_a_server_that_is_busy_are_to_be_tried_again() {
        for answer in [Answer::Breaks(6_000), Answer::Breaks(0), Answer::Busy] {
            let mut world = world(&[answer], None).await;
            assert!(matches!(world.fetch(None).await, Err(Fault::Broken(_))), "{answer:?}");
            world.flash.lose();
            world.fetch(None).await.unwrap();
            assert!(world.is_right(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_200_to_a_range_makes_it_begin_again_with_what_comes() {
        let mut world = world(&[Answer::Right, Answer::Whole], None).await;
        assert_eq!(world.fetch(Some(9_000)).await, Err(Fault::Cut));
        world.flash.lose();
        world.fetch(None).await.unwrap();
        assert!(world.is_right());
        assert_eq!(world.seen.lost, 8_192);
        assert_eq!(world.seen.breaches, ["200 to a range"]);
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_names_its_kind() {
        let mut world = world(&[Answer::Denies(403, "url-expired")], None).await;
        let fault = world.fetch(None).await.unwrap_err();
        assert_eq!(fault, Fault::Refused { status: 403, kind: Some("url-expired".to_owned()) });
    }

    #[tokio::test]
    async fn an_offset_past_the_end_is_answered_416_and_final() {
        let mut world = world(&[], None).await;
        world.announced.size = SIZE as u64 + 10_000;
        world.flash = Flash::new(world.announced.size);
        world.flash.write(&vec![0; 6 * SECTOR]);
        assert_eq!(world.fetch(None).await, Err(Fault::Refused { status: 416, kind: None }));
    }

    #[tokio::test]
    async fn what_the_contract_promises_and_an_answer_does_not_keep_is_noted() {
        for (answer, breach) in [
            (Answer::With("content-encoding: gzip"), "Content-Encoding"),
            (Answer::With("transfer-encoding: identity"), "Transfer-Encoding"),
            (Answer::WithoutEtag, "ETag is not the SHA-256"),
            (Answer::Elsewhere, "Content-Range: bytes 1-19999/20000 where bytes 0-19999/20000 was asked for"),
        ] {
            let mut world = world(&[answer], None).await;
            let _ = world.fetch(None).await;
            assert!(
                world.seen.breaches.iter().any(|seen| seen == breach),
                "{breach}: {:?}",
                world.seen.breaches
            );
        }
    }

    #[test]
    fn only_an_https_address_of_this_machine_is_a_place() {
        let local = Origin::parse("http://127.0.0.1:8787").unwrap();
        let place = Place::parse("https://ota.localhost/firmware/rs1_pro/1.3.0.bin?sig=x", &local).unwrap();
        assert_eq!(
            (place.host.as_str(), place.path.as_str()),
            ("ota.localhost", "/firmware/rs1_pro/1.3.0.bin?sig=x")
        );
        for wrong in
            ["http://ota.localhost/x", "https://ota.optic.works/x", "https://ota.localhost", "ftp://x/"]
        {
            assert!(Place::parse(wrong, &local).is_err(), "{wrong}");
        }
    }
}
