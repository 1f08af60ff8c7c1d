//! Decoding and encoding of frames, in detail: for comparing one state of the code with another.
//!
//! `cargo bench -p p2p-proto --bench frames -- --save-baseline before`, and after the change
//! `-- --baseline before`. How the numbers stand to other work: the benchmark `compare`.
#![expect(clippy::unwrap_used, reason = "a benchmark ends when something fails")]

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use p2p_proto::{Decoded, FrameDecoder, Limits, encode_frame};

mod messages;

use messages::{NETWORK, cases};

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for case in cases() {
        let bytes = case.frame.len() * case.in_a_row;
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
            bencher.iter_batched_ref(
                || case.read_buffer(),
                |buffer| {
                    while let Ok(Some(Decoded::Frame { command, body })) = decoder.decode(buffer) {
                        std::hint::black_box(body.decode(command).unwrap());
                    }
                    assert!(buffer.is_empty());
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for case in cases() {
        group.throughput(Throughput::Bytes(case.frame.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            let mut out = BytesMut::with_capacity(case.frame.len());
            bencher.iter(|| {
                out.clear();
                encode_frame(NETWORK, &case.message, &mut out);
            });
        });
    }
}

criterion_group!(frames, decode, encode);
criterion_main!(frames);
