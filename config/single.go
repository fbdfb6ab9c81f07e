package config

import "slices"

// singlePhase reads which logins take their factors with them.
func (b *block) singlePhase(c *LoginMFA, seen map[string]mountPlace) {
	b.flag("single_phase", &c.SinglePhase)
	b.mounts("single_phase_mounts", &c.SinglePhaseMounts, seen)
	list, _ := b.someTexts("single_phase_methods")
	for _, t := range list {
		if slices.Contains(c.SinglePhaseMethods, t.value) {
			b.d.fail(t.at, wordsRepeated("single_phase_methods", t))
			continue
		}
		c.SinglePhaseMethods = append(c.SinglePhaseMethods, t.value)
		b.d.refer("mfa_method", b.title, t)
	}
	if c.SinglePhase {
		at := b.body.Attributes["single_phase"].SrcRange
		if !c.Enabled {
			b.d.fail(at, wordsBoth("enabled = false", "single_phase = true"))
		}
		if !b.has("single_phase_methods") {
			b.d.singlePhase = &at
		}
		return
	}
	for _, name := range []string{"single_phase_methods", "single_phase_mounts"} {
		if b.has(name) {
			b.d.fail(b.body.Attributes[name].NameRange, wordsNoSinglePhase(name))
		}
	}
}

// checkSinglePhase finds the method of a file that has only one; every login would
// have to name it.
func (d *decoder) checkSinglePhase() {
	if d.singlePhase == nil {
		return
	}
	names := d.names("mfa_method")
	if len(names) != 1 {
		d.fail(*d.singlePhase, wordsWhichMethod(names))
		return
	}
	d.cfg.LoginMFA.SinglePhaseMethods = names
}
