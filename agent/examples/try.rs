use dnscribe::*;
use std::ops::ControlFlow;
fn main() {
    let ports: capture::ports::PortSet =
        std::env::var("PORTS").unwrap_or("53,5353,5355".into()).parse().unwrap();
    let mut replay = capture::replay::Replay::new(ports.clone());
    let text = std::env::var("LOOK").is_ok();
    let mut p: Option<pipeline::Pipeline> = None;
    for f in std::env::args().skip(1) {
        let r = replay.file(f.as_ref(), &mut |packet| {
            let p = p.get_or_insert_with(|| {
                let kafka = sink::KafkaConfig::default();
                let with = sink::OpenWith {
                    streams: Some("transactions,dlq".parse().unwrap()),
                    stdout: if text { sink::Look::Text } else { sink::Look::Json },
                    node: "replay",
                    kafka: &kafka,
                };
                let spec = if std::env::var("NULL").is_ok() {
                    sink::SinkSpec::Null
                } else {
                    sink::SinkSpec::Stdout
                };
                let sinks = sink::open(&[spec], &with).unwrap();
                let identity =
                    record::Identity::new("replay".into(), None, packet.ts, Default::default());
                let out = pipeline::Output::new(
                    pipeline::OutputOptions { identity, enricher: None, wait_for_sinks: true },
                    sinks,
                );
                pipeline::Pipeline::new(
                    decode::DecoderOptions { ports: ports.clone(), ..Default::default() },
                    dnscribe::pair::PairOptions {
                        query_timeout: std::time::Duration::from_secs(
                            std::env::var("QT").ok().and_then(|s| s.parse().ok()).unwrap_or(5),
                        ),
                        ..Default::default()
                    },
                    out,
                )
            });
            p.observe(packet);
            ControlFlow::Continue(())
        });
        eprintln!("{r:?}");
    }
    if let Some(mut p) = p {
        let t = p.last_packet();
        p.finish(t);
        p.output().flush(std::time::Duration::from_secs(5));
        let c = p.counters(replay.counters());
        eprintln!("{}", serde_json::to_string(&c).unwrap());
        eprintln!("{:?}", c.imbalances());
    }
}
