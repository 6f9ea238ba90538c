package ledger

// An OwnMessage is a signed message of the store, to be published on
// eventstore.ledger.<Action>.
type OwnMessage struct {
	Action string
	Data   []byte
}

// OwnMessages are those that the chain lacks: the configuration, where the one
// in force at start-up is not the wanted one, and the seals of sealed segments.
// They are asked for and published when the projection is at the stream's end.
// A replica without the private key has none, and so has one whose files do not
// tell what the chain lacks.
func (l *Ledger) OwnMessages() []OwnMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys.signer == nil || l.proj.unsound != nil {
		return nil
	}
	var own []OwnMessage
	add := func(action string, statement []byte) {
		data, err := l.keys.sign(action, statement)
		if err != nil {
			l.log.Error("signing failed", "action", action, "err", err)
			return
		}
		own = append(own, OwnMessage{action, data})
	}
	if replaces, due := l.configurationDue(); due {
		add(actionConf, l.opts.Config.statement(replaces))
	}
	for _, s := range l.proj.unvouched() {
		if s.sealID == 0 && s.doubt == nil && s.sealed.Load() {
			add(actionSeal, s.statement())
		}
	}
	return own
}

// unvouched are the ended segments from the first on that has no seal: this is
// asked each second, of years of segments.
func (p *projection) unvouched() []*segment {
	for p.vouched < len(p.segs) && p.segs[p.vouched].sealID != 0 {
		p.vouched++
	}
	return p.segs[p.vouched:]
}

// Signs tells whether the ledger has its private key; without it, it follows.
func (l *Ledger) Signs() bool { return l.keys.signer != nil }

// configurationDue tells whether the wanted configuration is to be chained, and
// which one it replaces. That is asked until the first configuration that is
// chained after start-up, whosever it is: stores with different wishes on one
// stream would else replace each other's for ever.
func (l *Ledger) configurationDue() (replaces ID, due bool) {
	last := l.proj.configs[len(l.proj.configs)-1]
	if l.offered == nil {
		id := last.id()
		l.offered = &id
	}
	return last.id(), *l.offered == last.id() && !last.config.equal(l.opts.Config)
}

// Configured tells whether the configuration in force is the wanted one and
// committed, or will not become it: a replica without the private key takes
// what is chained, and so does a store whose wish came too late.
func (l *Ledger) Configured() bool {
	l.mu.Lock()
	last := l.proj.configs[len(l.proj.configs)-1]
	done := l.keys.signer == nil || last.config.equal(l.opts.Config) || l.offered != nil && *l.offered != last.id()
	id := l.proj.id
	l.mu.Unlock()
	return done && l.Head().ID >= id
}
