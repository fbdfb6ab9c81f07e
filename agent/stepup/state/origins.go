package state

import "sync"

// maxOrigins bounds what is remembered of tokens; the oldest is forgotten first.
const maxOrigins = 1024

// Origins remembers, by HMAC, at which Okta mount a token or accessor was made; "" for
// one of which Vault said that it was made elsewhere. The zero value is ready.
type Origins struct {
	mu     sync.Mutex
	mounts map[string]string
	order  []string // oldest first
}

// Set notes where the token with this HMAC was made.
func (o *Origins) Set(identity, mount string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.mounts[identity]; !ok {
		o.order = append(o.order, identity)
	}
	if o.mounts == nil {
		o.mounts = make(map[string]string)
	}
	o.mounts[identity] = mount
	if len(o.order) > maxOrigins {
		delete(o.mounts, o.order[0])
		o.order = o.order[1:]
	}
}

// Find is the Okta mount of a token; ok is false when nothing is known of it.
func (o *Origins) Find(identity string) (mount string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	mount, ok = o.mounts[identity]
	return mount, ok
}
