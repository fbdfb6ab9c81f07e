package stepup

// maxOrigins bounds what is remembered of tokens; the oldest is forgotten first.
const maxOrigins = 1024

// origins remembers, by HMAC, at which Okta mount a token or accessor was made; ""
// for one of which Vault said that it was made elsewhere.
type origins struct {
	mounts map[string]string
	order  []string // oldest first
}

// remember notes where the token with this HMAC was made.
func (l *Ledger) remember(identity, mount string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.origins
	if _, ok := o.mounts[identity]; !ok {
		o.order = append(o.order, identity)
	}
	o.mounts[identity] = mount
	if len(o.order) > maxOrigins {
		delete(o.mounts, o.order[0])
		o.order = o.order[1:]
	}
}

// origin is the Okta mount of a token; ok is false when nothing is known of it.
func (l *Ledger) origin(identity string) (mount string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mount, ok = l.origins.mounts[identity]
	return mount, ok
}
