package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A bench measures one part of the report after the other.
type bench struct {
	*lab
	report *report
}

// pair starts a bare proxy and a stepup without rules, in front of an upstream.
func (b *bench) pair(ctx context.Context, upstream int) (bare, ours side, err error) {
	if bare, err = b.bare(upstream); err != nil {
		return
	}
	ours, err = b.agent(ctx, agent{name: "stepup", upstream: upstream})
	return
}

// rounds drives all sides in turn, again and again, each time in another order: a side
// would profit from always following the same one.
func (b *bench) rounds(ctx context.Context, connections int, sides ...side) ([]figures, error) {
	all := make([]figures, len(sides))
	for range b.report.plan.rounds {
		for _, i := range rand.Perm(len(sides)) {
			f, err := sides[i].drive(ctx, connections, b.report.plan.round)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], f)
		}
	}
	return all, nil
}

// idle measures what a proxy uses after one request.
func (b *bench) idle(ctx context.Context) error {
	bare, ours, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	if err := bare.once(); err != nil {
		return err
	}
	// stepup gives memory back some seconds after the last request.
	if err := sleep(ctx, 15*time.Second); err != nil {
		return err
	}
	sides, d := []side{ours, bare}, b.report.plan.idle
	var cpus, wakeUps [2]float64
	for i, s := range sides {
		cpus[i], wakeUps[i] = s.cpu().Seconds(), s.process.wakeUps()
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	for i, s := range sides {
		aims := [][3]string{{"18", "4", "0.2"}, {}}[i]
		b.report.add("idle, memory: "+s.name, "MiB", aims[0], s.process.memory("VmRSS")/1024)
		b.report.add("idle, wake-ups in a minute: "+s.name, "", aims[1], (s.process.wakeUps()-wakeUps[i])/d.Minutes())
		b.report.add("idle, CPU in an hour: "+s.name, "s", aims[2], (s.cpu().Seconds()-cpus[i])/d.Hours())
	}
	return nil
}

// relay measures requests that no rule looks at.
func (b *bench) relay(ctx context.Context) error {
	direct := side{name: "direct", addr: b.upstreams[0], path: secretPath}
	bare, ours, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	ours.name = "stepup, no rule"
	sides, err := b.relaySides(ctx, direct, bare, ours)
	if err != nil {
		return err
	}
	all, err := b.rounds(ctx, 16, sides...)
	if err != nil {
		return err
	}
	by := map[string]figures{}
	for i, s := range sides {
		by[s.name] = all[i]
		b.report.addSide(s, all[i])
	}
	b.againstBare("relay", 16, [2]figures{by["bare"], by[ours.name]})
	for _, connections := range []int{1, 256} {
		if all, err = b.rounds(ctx, connections, bare, ours); err != nil {
			return err
		}
		b.againstBare("relay", connections, [2]figures(all))
	}
	for _, other := range []struct{ a, b, aim string }{
		{"stepup, no rule", "Vault Proxy", "0.25"}, {"stepup, no rule", "nginx", ""}, {"stepup, no rule", "haproxy", ""},
		{"stepup, 10 rules", "stepup, no rule", ""}, {"stepup, 1,000 rules", "stepup, no rule", "1.05"},
		{"stepup, telemetry", "stepup, no rule", ""}, {"stepup, no express lane", "stepup, no rule", ""},
	} {
		if x, y := by[other.a], by[other.b]; x != nil && y != nil {
			b.report.add(fmt.Sprintf("relay, connections: 16, CPU: %s / %s", other.a, other.b), "", other.aim, ratios(x.cpus(), y.cpus())...)
		}
	}
	return nil
}

// relaySides starts what else there is beside the first sides.
func (b *bench) relaySides(ctx context.Context, sides ...side) ([]side, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	agents := []agent{
		{name: "stepup, 10 rules", more: rules(10)},
		{name: "stepup, 1,000 rules", more: rules(1000)},
		{name: "stepup, telemetry", more: fmt.Sprintf("telemetry { address = %q }\n", metrics)},
	}
	if b.hasExpress(ctx) {
		agents = append(agents, agent{name: "stepup, no express lane", more: noExpress})
	}
	for _, a := range agents {
		s, err := b.agent(ctx, a)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
	}
	others, err := b.others(ctx)
	return append(sides, others...), err
}

// againstBare adds the ratios of ours to bare, given as these two.
func (b *bench) againstBare(what string, connections int, of [2]figures) {
	bare, ours := of[0], of[1]
	name := fmt.Sprintf("%s, connections: %d", what, connections)
	aimCPU, aimRate := "0.60", "1.5"
	if what != "relay" {
		aimCPU, aimRate = "0.70", ""
	}
	b.report.add(name+", CPU / bare", "", aimCPU, ratios(ours.cpus(), bare.cpus())...)
	b.report.add(name+", requests/s / bare", "", aimRate, ratios(ours.rates(), bare.rates())...)
}

// tls measures the same with TLS to Vault.
func (b *bench) tls(ctx context.Context) error {
	for upstream, name := range []string{1: "TLS, HTTP/1.1", 2: "TLS, HTTP/2"} {
		if name == "" {
			continue
		}
		bare, ours, err := b.pair(ctx, upstream)
		if err != nil {
			return err
		}
		for _, connections := range []int{1, 16, 256} {
			all, err := b.rounds(ctx, connections, bare, ours)
			if err != nil {
				return err
			}
			b.againstBare(name, connections, [2]figures(all))
		}
		bare.process.stop()
		ours.process.stop()
	}
	return nil
}

// token steps up once, for a crowd that waits, and measures requests with the token that
// was cached then beside those that need none, in the same process.
func (b *bench) token(ctx context.Context) error {
	codes, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = codes.Close() }()
	plain, err := b.agent(ctx, agent{name: "plain", more: b.guarded(codes.Addr().String())})
	if err != nil {
		return err
	}
	guarded := plain.with("with a step-up token", guardedPath)
	const crowd = 1000
	clients, closeAll, err := guarded.dialMany(crowd)
	if err != nil {
		return err
	}
	closeAll = sync.OnceFunc(closeAll)
	defer closeAll()
	request, served := guarded.request("GET", 0), make(chan error, 1)
	go func() {
		served <- each(clients, func(_ int, c client) error {
			if _, err := c.Write(request); err != nil {
				return err
			}
			_, err := readAnswer(c.r)
			return err
		})
	}()
	command, err := codes.Accept()
	if err != nil {
		return err
	}
	if err := guarded.process.settle(ctx); err != nil {
		return err
	}
	started := time.Now()
	if _, err := fmt.Fprintln(command, "123456"); err != nil {
		return err
	}
	_ = command.Close()
	if err := <-served; err != nil {
		return guarded.process.explain(err)
	}
	b.report.add("from the code to the last of 1,000 waiting requests", "ms", "50", time.Since(started).Seconds()*1e3)
	closeAll() // the search for the process of a connection reads all that it has open
	all, err := b.rounds(ctx, 16, plain, guarded)
	if err != nil {
		return err
	}
	b.report.add("cached step-up token / plain relay, CPU", "", "1.15", ratios(all[1].cpus(), all[0].cpus())...)
	b.report.add("cached step-up token / plain relay, requests/s", "", "", ratios(all[1].rates(), all[0].rates())...)
	return nil
}

// gigabyte measures one large body in each direction.
func (b *bench) gigabyte(ctx context.Context) error {
	bare, ours, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	bare, ours = bare.with("bare", snapshotPath), ours.with("stepup", snapshotPath)
	for _, direction := range []struct {
		name string
		up   bool
	}{{"down", false}, {"up", true}} {
		var took [2][]float64
		var peaks []float64
		for range b.report.plan.transfers {
			ours.process.forgetPeak()
			for i, s := range []side{bare, ours} {
				seconds, err := s.transfer(ctx, direction.up)
				if err != nil {
					return err
				}
				took[i] = append(took[i], seconds)
			}
			peaks = append(peaks, ours.process.memory("VmHWM")/1024)
		}
		b.report.add("1 GiB "+direction.name+", time / bare", "", "1.0", ratios(took[1], took[0])...)
		b.report.add("1 GiB "+direction.name+", peak memory", "MiB", "22", peaks...)
	}
	return nil
}

// streams measures answers that stay open.
func (b *bench) streams(ctx context.Context) error {
	bare, ours, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	// A proxy has two connections for each, and some files.
	n := min(b.report.plan.streams, (descriptors()-100)/2)
	b.report.streams = n
	for _, s := range []struct {
		side
		aim string
	}{{ours, "24"}, {bare, ""}} {
		if err := s.once(); err != nil {
			return err
		}
		kib, err := s.with(s.name, monitorPath).streams(ctx, n)
		if err != nil {
			return err
		}
		b.report.add("open idle streams, memory each: "+s.name, "KiB", s.aim, kib)
	}
	return nil
}
