//! Compresses answers that gain from it, where asked (D74, G34). Streams: nothing is held back while a client waits.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use bytes::buf::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderValue,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Either;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cors::vary;

/// Bytes below which an answer stays as it is.
const LEAST_BYTES: u64 = 1024;
/// Bytes of compressed data that are sent on.
const CHUNK: usize = 8 << 10;
/// Bytes taken in after which something is sent on, however well they compress.
const MOST_TAKEN: usize = 128 << 10;
/// Level of gzip: that of nginx, for its speed.
const GZIP_LEVEL: u32 = 1;
/// Quality and window (2^18 bytes) of brotli: about gzip's speed, and bounded memory for each answer.
const BROTLI: (u32, u32) = (3, 18);
/// KiB that all encoders at work take together: a quarter of what a sidecar has.
const MOST_KIB: usize = 16 << 10;

static VARY_ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gzip (D74).
    Gzip,
    /// br.
    Brotli,
}

impl Encoding {
    /// What an encoder holds until its answer has been read.
    fn kib(self) -> u32 {
        match self {
            Encoding::Gzip => 320,
            Encoding::Brotli => 1024,
        }
    }
}

/// The memory of encoders at work: a client that reads slowly keeps its part of it.
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Places(Arc::new(Semaphore::new(MOST_KIB)))
    }
}

impl Places {
    /// Room for one more encoder, if there is any.
    fn take(&self, encoding: Encoding) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_many_owned(encoding.kib()).ok()
    }
}

/// What the client takes, by its q-values; gzip where it takes both alike, for its cost. None for HEAD.
pub fn negotiate(method: &Method, headers: &HeaderMap) -> Option<Encoding> {
    if method == Method::HEAD {
        return None;
    }
    let (mut gzip, mut brotli, mut any) = (None, None, None);
    let offers = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    for offer in offers.flat_map(|line| line.split(',')) {
        let (name, parameters) = offer.split_once(';').unwrap_or((offer, ""));
        let (name, quality) = (name.trim(), quality(parameters));
        let entry = match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            _ if name.eq_ignore_ascii_case("br") => &mut brotli,
            "*" => &mut any,
            _ => continue,
        };
        *entry = Some(quality);
    }
    let (gzip, brotli) = (gzip.or(any).unwrap_or(0), brotli.or(any).unwrap_or(0));
    match (gzip, brotli) {
        (0, 0) => None,
        _ if gzip >= brotli => Some(Encoding::Gzip),
        _ => Some(Encoding::Brotli),
    }
}

/// Thousandths of `q`: 1 where there is none, 0 where it is no number of at most 1.
fn quality(parameters: &str) -> u16 {
    let named = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(value) = named else { return 1000 };
    match value.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => (value * 1000.0).round() as u16,
        _ => 0,
    }
}

/// The answer, compressed if it gains from that, the client takes it and there is a place; else as it is, and for free.
pub fn compress<B>(
    encoding: Option<Encoding>,
    places: &Places,
    mut response: Response<B>,
) -> Response<Either<B, Compressed<B>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    if !gains(&response) {
        return response.map(Either::Left);
    }
    let headers = response.headers_mut();
    // A cache must not give to one client what another one takes.
    vary(headers, &VARY_ACCEPT_ENCODING);
    // Nobody waits for a place: that would take longer than the answer as it is.
    let place = encoding.and_then(|encoding| Some((encoding, places.take(encoding)?)));
    let Some((encoding, place)) = place else { return response.map(Either::Left) };
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    headers.insert(
        CONTENT_ENCODING,
        HeaderValue::from_static(match encoding {
            Encoding::Gzip => "gzip",
            Encoding::Brotli => "br",
        }),
    );
    response.map(|body| Either::Right(Compressed::new(encoding, place, body)))
}

/// Whether an answer may be compressed, and is worth it.
fn gains<B: Body>(response: &Response<B>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let has_body = !status.is_informational()
        && ![
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::NOT_MODIFIED,
        ]
        .contains(&status);
    has_body
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && headers.get(CONTENT_TYPE).is_some_and(|value| is_compressible(value.as_bytes()))
        && response.body().size_hint().upper().is_none_or(|size| size >= LEAST_BYTES)
        && length(headers).is_none_or(|size| size >= LEAST_BYTES)
        // A strong tag names these very bytes.
        && headers.get(ETAG).is_none_or(|tag| tag.as_bytes().starts_with(b"W/"))
        && !is_no_transform(headers)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_no_transform(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Whether data of a type is text, which compresses; event streams and gRPC frame their own.
fn is_compressible(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let essence = content_type[..end].trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    let begins = |with: &str| {
        essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    let ends = |with: &str| {
        essence
            .len()
            .checked_sub(with.len())
            .is_some_and(|at| essence[at..].eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("application/grpc") || is("text/event-stream") {
        return false;
    }
    begins("text/")
        || ends("+json")
        || ends("+xml")
        || [
            "application/json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "application/x-ndjson",
            "application/yaml",
        ]
        .into_iter()
        .any(is)
}

/// A body on its way through an encoder.
pub struct Compressed<B> {
    body: B,
    /// None: all data has gone through.
    encoder: Option<Encoder>,
    /// That of the encoder, as long as there is one.
    place: Option<OwnedSemaphorePermit>,
    /// Bytes that the encoder took and may not have given back yet.
    taken: usize,
    trailers: Option<HeaderMap>,
}

enum Encoder {
    Gzip(GzEncoder<Writer<BytesMut>>),
    Brotli(Box<CompressorWriter<Writer<BytesMut>>>),
}

impl<B> Compressed<B> {
    fn new(encoding: Encoding, place: OwnedSemaphorePermit, body: B) -> Self {
        let out = BytesMut::new().writer();
        let encoder = match encoding {
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL))),
            Encoding::Brotli => {
                let (quality, window) = BROTLI;
                Encoder::Brotli(Box::new(CompressorWriter::new(out, CHUNK, quality, window)))
            }
        };
        Compressed { body, encoder: Some(encoder), place: Some(place), taken: 0, trailers: None }
    }
}

impl Encoder {
    fn stream(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Brotli(encoder) => encoder.as_mut(),
        }
    }

    fn out(&mut self) -> &mut BytesMut {
        match self {
            Encoder::Gzip(encoder) => encoder.get_mut().get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut().get_mut(),
        }
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Brotli(encoder) => encoder.into_inner(),
        }
        .into_inner()
        .freeze())
    }
}

impl<B> Body for Compressed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            let Some(encoder) = &mut this.encoder else {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        encoder.stream().write_all(&data)?;
                        this.taken += data.len();
                        if this.taken >= MOST_TAKEN {
                            encoder.stream().flush()?;
                            this.taken = 0;
                        }
                        // Without a flush some of it is still inside, and follows when the application pauses.
                        if encoder.out().len() >= CHUNK || this.taken == 0 {
                            return Poll::Ready(Some(Ok(Frame::data(encoder.out().split().freeze()))));
                        }
                    }
                    Err(frame) => {
                        this.trailers = frame.into_trailers().ok();
                        return Poll::Ready(this.end());
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(this.end()),
                // The application pauses: what it sent goes on now.
                Poll::Pending if this.taken > 0 => {
                    encoder.stream().flush()?;
                    this.taken = 0;
                    return Poll::Ready(Some(Ok(Frame::data(encoder.out().split().freeze()))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

impl<B: Body> Compressed<B> {
    /// The last of the data.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>> {
        let end = self.encoder.take()?.finish();
        self.place = None;
        Some(end.map(Frame::data).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Read;

    use futures::channel::mpsc;
    use futures::{SinkExt, StreamExt};
    use http::header::HeaderName;
    use http_body_util::{BodyExt, Full, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn plain(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        // What has come so far: the stream may still be open.
        let _ = match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(data).read_to_end(&mut text),
            Encoding::Brotli => brotli::Decompressor::new(data, 4096).read_to_end(&mut text),
        };
        text
    }

    fn answer(headers: &[(&str, &str)], body: Vec<u8>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        for (name, value) in headers {
            response.headers_mut().append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        response
    }

    #[test]
    fn the_client_chooses_by_its_q_values() {
        for (accepts, encoding) in [
            (&["gzip"][..], Some(Encoding::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Encoding::Gzip)),
            (&["br"], Some(Encoding::Brotli)),
            (&["br", "gzip;q=0.5"], Some(Encoding::Brotli)),
            (&["BR;Q=1, GZIP;q=0.9"], Some(Encoding::Brotli)),
            (&["gzip;q=0, br;q=0.1"], Some(Encoding::Brotli)),
            (&["*"], Some(Encoding::Gzip)),
            (&["gzip;q=0, *"], Some(Encoding::Brotli)),
            (&["*;q=0"], None),
            (&["gzip;q=0"], None),
            (&["gzip;q=nan, br;q=2"], None),
            (&["identity, deflate"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for accept in accepts {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap());
            }
            assert_eq!(negotiate(&Method::GET, &headers), encoding, "{accepts:?}");
            assert_eq!(negotiate(&Method::HEAD, &headers), None);
        }
    }

    #[tokio::test]
    async fn encoders_at_work_are_bounded_and_leave_their_places() {
        let headers = [("content-type", "application/json")];
        let names = |response: &Response<_>| response.headers().contains_key("content-encoding");
        for (encoding, most) in [(Encoding::Gzip, 51), (Encoding::Brotli, 16)] {
            let places = Places::default();
            let ask = || compress(Some(encoding), &places, answer(&headers, vec![b'a'; 4096]));
            let mut at_work: Vec<_> = (0..most).map(|_| ask()).collect();
            assert!(at_work.iter().all(names));
            let plain = ask();
            assert!(!names(&plain) && plain.headers()["vary"] == "Accept-Encoding");
            assert_eq!(plain.into_body().collect().await.unwrap().to_bytes().len(), 4096);
            // One that is left, and one that is read to its end and still held.
            drop(at_work.pop());
            assert!(names(&ask()));
            let mut read = at_work.pop().unwrap().into_body();
            while read.frame().await.is_some() {}
            let both = [ask(), ask()];
            assert!(both.iter().all(names), "a place for each");
            assert!(!names(&ask()));
        }
    }

    #[tokio::test]
    async fn text_is_compressed_and_says_so() {
        for encoding in [Encoding::Gzip, Encoding::Brotli] {
            let text = vec![b'a'; 4096];
            let headers = [
                ("content-type", "application/json; charset=utf-8"),
                ("content-length", "4096"),
                ("accept-ranges", "bytes"),
                ("etag", "W/\"1\""),
                ("vary", "Origin"),
            ];
            let response = compress(Some(encoding), &Places::default(), answer(&headers, text.clone()));
            let name = if encoding == Encoding::Gzip { "gzip" } else { "br" };
            assert_eq!(response.headers()["content-encoding"], name);
            assert_eq!(
                response.headers().get_all("vary").iter().collect::<Vec<_>>(),
                ["Origin", "Accept-Encoding"]
            );
            assert!(!response.headers().contains_key("content-length"));
            assert!(!response.headers().contains_key("accept-ranges"));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.len() < 200);
            assert_eq!(plain(encoding, &body), text);
        }
    }

    #[test]
    fn what_must_stay_as_it_is_stays() {
        let json = ("content-type", "application/json");
        for headers in [
            &[][..],
            &[("content-type", "image/png")],
            &[("content-type", "text/event-stream")],
            &[("content-type", "Text/Event-Stream; charset=utf-8")],
            &[("content-type", "application/grpc")],
            &[("content-type", "application/grpc-web+json")],
            &[json, ("etag", "\"strong\"")],
            &[json, ("content-encoding", "zstd")],
            &[json, ("content-range", "bytes 0-4095/9000")],
            &[json, ("cache-control", "public, No-Transform")],
        ] {
            let response =
                compress(Some(Encoding::Gzip), &Places::default(), answer(headers, vec![b'a'; 4096]));
            assert_eq!(response.headers().len(), headers.len(), "{headers:?}");
            assert!(matches!(response.body(), Either::Left(_)), "{headers:?}");
        }
        for status in [204, 206, 304] {
            let mut response = answer(&[json], vec![b'a'; 4096]);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            assert!(
                matches!(
                    compress(Some(Encoding::Gzip), &Places::default(), response).body(),
                    Either::Left(_)
                ),
                "{status}"
            );
        }
        assert!(matches!(
            compress(Some(Encoding::Gzip), &Places::default(), answer(&[json], vec![b'a'; 1023])).body(),
            Either::Left(_)
        ));
        let response = compress(None, &Places::default(), answer(&[json], vec![b'a'; 4096]));
        assert_eq!(response.headers()["vary"], "Accept-Encoding");
        assert!(matches!(response.body(), Either::Left(_)));
    }

    type Sent = Result<Frame<Bytes>, Infallible>;

    /// An answer that is still being sent.
    fn lines(ahead: usize) -> (mpsc::Sender<Sent>, Response<StreamBody<mpsc::Receiver<Sent>>>) {
        let (sender, receiver) = mpsc::channel(ahead);
        let mut response = Response::new(StreamBody::new(receiver));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        (sender, response)
    }

    #[tokio::test]
    async fn the_end_of_a_burst_is_not_held_back() {
        for encoding in [Encoding::Gzip, Encoding::Brotli] {
            let (mut sender, response) = lines(16);
            let mut body = compress(Some(encoding), &Places::default(), response).into_body().frames();
            let (mut sent, mut noise) = (Vec::new(), 1_u32);
            for _ in 0..5 {
                let piece: Vec<u8> = std::iter::repeat_with(|| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    noise.to_be_bytes()[0]
                })
                .take(16 << 10)
                .collect();
                sent.extend_from_slice(&piece);
                sender.send(Ok(Frame::data(piece.into()))).await.unwrap();
            }
            let mut received = Vec::new();
            let pause = std::time::Duration::from_millis(100);
            while let Ok(Some(frame)) = tokio::time::timeout(pause, body.next()).await {
                received.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            assert!(plain(encoding, &received) == sent, "{} bytes", plain(encoding, &received).len());
        }
    }

    #[tokio::test]
    async fn a_small_piece_is_not_held_back_and_trailers_come_after() {
        for encoding in [Encoding::Gzip, Encoding::Brotli] {
            let (mut sender, response) = lines(1);
            let mut body = compress(Some(encoding), &Places::default(), response).into_body().frames();
            sender.send(Ok(Frame::data(Bytes::from_static(b"{\"line\":1}\n")))).await.unwrap();
            let mut received = body.next().await.unwrap().unwrap().into_data().unwrap().to_vec();
            assert_eq!(plain(encoding, &received), b"{\"line\":1}\n");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
            drop(sender);
            let mut sum = None;
            while let Some(frame) = body.next().await {
                match frame.unwrap().into_data() {
                    Ok(data) => received.extend_from_slice(&data),
                    Err(frame) => sum = frame.into_trailers().ok(),
                }
            }
            assert_eq!(plain(encoding, &received), b"{\"line\":1}\n");
            assert_eq!(sum.unwrap()["x-sum"], "1");
        }
    }

    trait Frames: Body + Sized {
        fn frames(self) -> http_body_util::BodyStream<Self> {
            http_body_util::BodyStream::new(self)
        }
    }

    impl<B: Body> Frames for B {}

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..20), zeros in 0_usize..600_000, brotli in any::<bool>()) {
            let encoding = if brotli { Encoding::Brotli } else { Encoding::Gzip };
            let mut pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            pieces.push(Bytes::from(vec![0; zeros]));
            let text = pieces.concat();
            let stream = futures::stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
            let body = Compressed::new(encoding, Places::default().take(encoding).unwrap(), StreamBody::new(stream));
            let body = futures::executor::block_on(body.collect()).unwrap().to_bytes();
            prop_assert_eq!(plain(encoding, &body), text);
        }
    }
}
