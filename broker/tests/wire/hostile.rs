//! Frames that no honest client sends.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{FetchRequest, MetadataRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_protocol::api::APIS;
use weir_protocol::guard::{Limits, Place, Width, places};
use weir_protocol::header::RequestHeader;

use crate::client::{Client, batch, fetch_request, frame, produce_request};
use crate::every_version::ask_everything;
use crate::lifecycle::{Process, resident_bytes, resident_bytes_max, start};

const FRAMES: u32 = 50_000;
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// A topic of an honest client.
const ALIVE: &str = "alive";
const SEED: u64 = 0x5EED_0001;

/// Chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        const NASTY: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        match self.roll() % 3 {
            0 => NASTY[self.below(NASTY.len())],
            _ => (self.roll() >> 24) as u8,
        }
    }
}

/// A frame whose length is right and whose rest is chance, or an honest frame with a few wrong
/// bytes.
fn hostile_frame(dice: &mut Dice, honest: &[Bytes]) -> BytesMut {
    let mut frame = BytesMut::new();
    if dice.below(2) == 0 {
        let row = &APIS[dice.below(APIS.len())];
        let version =
            row.min + i16::try_from(dice.below((row.max - row.min + 1) as usize)).expect("small");
        let length = dice.below(300);
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&row.key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7i32.to_be_bytes());
        frame.extend_from_slice(&(-1i16).to_be_bytes());
        if row.is_flexible(version) {
            frame.extend_from_slice(&[0]);
        }
        for _ in 0..length {
            frame.extend_from_slice(&[dice.byte()]);
        }
    } else {
        frame.extend_from_slice(&honest[dice.below(honest.len())]);
        for _ in 0..=dice.below(4) {
            let place = 4 + dice.below(frame.len() - 4);
            frame[place] = dice.byte();
        }
    }
    let length = match dice.below(100) {
        0 => i32::MAX,
        1 => -1,
        _ => i32::try_from(frame.len() - 4).expect("small"),
    };
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_hostile_frames_leave_the_broker_standing() {
    println!("seed {SEED:#x}");
    let mut dice = Dice(SEED);
    let folder = tempfile::tempdir().expect("a folder");
    // Frames that happen to be honest may create topics: small ones, and none by chance names.
    let mut process = start(folder.path(), &["--override", "auto.create.topics.enable=false"]);
    let mut client = Client::connect(process.address).await;
    for topic in ["t", ALIVE] {
        client.create(topic, 1, &[]).await;
        client.produce(topic, batch(&["a"])).await;
    }
    let honest = [
        frame(9, 1, &produce_request("t", 0, -1, batch(&["abc"]))),
        frame(3, 1, &produce_request("t", 0, 1, batch(&["abc"]))),
        frame(12, 1, &fetch_request("t", 0, 0, 0)),
        frame(4, 1, &fetch_request("t", 0, 0, 0)),
        frame(12, 1, &MetadataRequest::default().with_topics(None)),
        frame(1, 1, &MetadataRequest::default().with_topics(None)),
    ];
    let before = resident_bytes(&process);
    let mut answered = 0;
    for _ in 0..FRAMES {
        answered += u32::from(try_on(&process, &hostile_frame(&mut dice, &honest)).await);
    }
    assert!(answered > FRAMES / 100, "{answered} answers are too few: all was refused at the door");
    assert_stands(&mut process, &mut client).await;
    let grown = grown_bytes(&process, before);
    println!(
        "{FRAMES} hostile frames over a socket, {answered} answered, memory grew by {grown} bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_fffffff_at_any_count_of_any_request_ends_the_connection_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = start(folder.path(), &[]);
    let mut client = Client::connect(process.address).await;
    ask_everything(&mut client).await;
    client.create(ALIVE, 1, &[]).await;
    client.produce(ALIVE, batch(&["a"])).await;
    let honest = std::mem::take(&mut client.sent);
    let before = resident_bytes(&process);
    let (mut count, mut asked) = (0, BTreeSet::new());
    for frame in honest {
        let mut body = frame.slice(4..);
        let header = RequestHeader::parse(&mut body).expect("an honest frame");
        let (key, version) = (header.api_key, header.api_version);
        asked.insert((key, version));
        let head = frame.slice(..frame.len() - body.len());
        for place in places(key, version, &body, &Limits::default()).expect("an honest request") {
            let hostile = with_largest(&head, &body, &place);
            let is_answered = try_on(&process, &hostile).await;
            assert!(!is_answered, "API {key} version {version}: {place:?} is answered");
            count += 1;
        }
    }
    let served: usize = APIS.iter().map(|row| (row.max - row.min + 1) as usize).sum();
    assert_eq!(asked.len(), served, "every API in every version");
    assert_stands(&mut process, &mut client).await;
    let grown = grown_bytes(&process, before);
    println!(
        "7fffffff at {count} counts over a socket, {served} versions of {} APIs, memory grew by \
         {grown} bytes",
        APIS.len()
    );
}

/// The frame with 7fffffff, or as much of it as there is room for, in place of a count.
fn with_largest(head: &[u8], body: &[u8], place: &Place) -> BytesMut {
    let (width, largest): (usize, &[u8]) = match place.width {
        Width::Int8 => (1, &[0x7f]),
        Width::Int16 => (2, &[0x7f, 0xff]),
        Width::Int32 => (4, &[0x7f, 0xff, 0xff, 0xff]),
        Width::Varint { bytes } => (bytes, &[0xff, 0xff, 0xff, 0xff, 0x07]),
    };
    let mut frame = BytesMut::from(head);
    frame.extend_from_slice(&body[..place.position]);
    frame.extend_from_slice(largest);
    frame.extend_from_slice(&body[place.position + width..]);
    let length = i32::try_from(frame.len() - 4).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Sends a frame over a connection of its own; whether anything is answered before it ends.
async fn try_on(process: &Process, frame: &[u8]) -> bool {
    let mut stream = TcpStream::connect(process.address).await.expect("it lives");
    stream.write_all(frame).await.expect("it takes the bytes");
    drain(stream).await > 0
}

/// The broker lives and serves honest clients.
async fn assert_stands(process: &mut Process, client: &mut Client) {
    assert!(process.child.try_wait().expect("a child").is_none(), "the broker died");
    let fetched: kafka_protocol::messages::FetchResponse =
        client.call::<FetchRequest>(12, &fetch_request(ALIVE, 0, 0, 0)).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0, "honest clients are served");
}

/// By how much memory has grown at its highest.
fn grown_bytes(process: &Process, before: u64) -> u64 {
    let grown = resident_bytes_max(process).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    grown
}

/// Says that nothing more comes, and reads what is answered, so many bytes: the broker has then
/// seen the frame.
async fn drain(mut stream: TcpStream) -> usize {
    let mut sink = Vec::new();
    // The broker may have closed it already: that is what is hoped for.
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut sink).await;
    // Thousands of ports would wait for late packets otherwise.
    let _ = stream.set_zero_linger();
    sink.len()
}
