use std::time::{Duration, Instant};
use netsonde_probes::*;
fn main() {
    let mut p = Probes::load(&Options{disabled: Default::default(), sizes: Sizes{flows:16384,event_ring:1<<20,process_ring:1<<20}, settings: Settings{events: ["listen","connect","accept","close","failure"].iter().map(|s|s.to_string()).collect(), events_per_second:1000, keep_client_address:false}}).unwrap();
    for s in p.signals() { println!("{} {}", s.name, s.state); }
    let end = Instant::now()+Duration::from_secs(8);
    let mut n=0;
    while Instant::now()<end {
        let r = p.poll(Duration::from_millis(100)).unwrap();
        for e in r.processes { println!("{:?} {:?} {}", e.process, e.kind, e.command); }
        for e in r.sockets { println!("{:?}", e); }
        n+=1;
        if n%20==0 { let t=Instant::now(); let s = p.sweep().unwrap(); println!("SWEEP {:?} {:?} procs {} ", t.elapsed(), s.totals, s.processes.len()); for l in s.listeners { println!("  L {:?}", l);} 
          for (f,c) in &s.flows { println!("  F {:?}", f); signals::tcp::measure(c, |m| println!("     {} {:?} {:?}", m.metric.name, m.label.map(|l|l.1), m.value)); } }
    }
    println!("{:?}", p.losses());
    for r in facts::program_runtimes(p.program_ids()) { println!("{r:?} {}", r.run_time_ns/(r.run_count.max(1))); }
}
