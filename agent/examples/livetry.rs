use dnscribe::*;
use dnscribe::capture::live::*;
fn main() {
    let mut live = match Live::open(&LiveOptions { hook: match std::env::var("HOOK").as_deref() { Ok("socket") => HookChoice::Socket, _ => HookChoice::Auto }, cgroup: None, interfaces: vec![], ports: Default::default(), ring_bytes: 32 << 20, snap_bytes: 65536 }) { Ok(l) => l, Err(e) => { eprintln!("{e}"); return } };
    eprintln!("{}", live.describe());
    let kafka = sink::KafkaConfig::default();
    let text = std::env::var("LOOK").is_ok();
    let with = sink::OpenWith { streams: Some("transactions,dlq".parse().unwrap()), stdout: if text { sink::Look::Text } else { sink::Look::Json }, node: "replay", kafka: &kafka };
    let spec = if std::env::var("NULL").is_ok() { sink::SinkSpec::Null } else { sink::SinkSpec::Stdout };
    let sinks = sink::open(&[spec], &with).unwrap();
    let identity = record::Identity::new("n".into(), None, time::Timestamp::now(), Default::default());
    let out = pipeline::Output::new(pipeline::OutputOptions { identity, enricher: Some(enrich::Enricher::new(Some("/sys/fs/cgroup/unified".as_ref()))), wait_for_sinks: false }, sinks);
    let mut p = pipeline::Pipeline::new(Default::default(), Default::default(), out);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(std::env::args().nth(1).unwrap().parse().unwrap());
    while std::time::Instant::now() < end {
        live.wait(std::time::Duration::from_millis(50)).unwrap();
        let before = time::Timestamp::now();
        let n = live.drain(16384, &mut |packet| p.observe(packet));
        if n < 16384 { p.expire(before); p.flush_batches(); }
    }
    live.detach();
    while live.drain(16384, &mut |packet| p.observe(packet)) > 0 {}
    p.finish(time::Timestamp::now());
    p.output().flush(std::time::Duration::from_secs(5));
    let c = p.counters(live.counters());
    eprintln!("{}", serde_json::to_string(&c).unwrap());
    eprintln!("{:?}", c.imbalances());
    eprintln!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
    eprintln!("{}", std::fs::read_to_string("/proc/self/stat").unwrap().split(' ').skip(13).take(2).collect::<Vec<_>>().join(" "));
}
