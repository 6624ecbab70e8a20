package schemagate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Report is what the gate found.
type Report struct {
	Faults   []Fault  // by file and line; none where all is well
	Releases []string // that were compared with, oldest first
	Types    int      // event types
	Goldens  int      // recorded events
}

// Check finds what may not land: what buf's lint and the compiler say, what breaks any released state, and what the
// corpus lacks or has lost. Faults are in the report; an error says that it could not be checked. It takes seconds, or
// minutes where buf has to be built first, and asks the network for nothing else.
func (g Gate) Check(ctx context.Context) (Report, error) {
	r, _, err := g.check(ctx)
	return r, err
}

// check is Check, and the image of what was checked.
func (g Gate) check(ctx context.Context) (r Report, image []byte, err error) {
	versions, err := g.releases()
	if err != nil {
		return r, nil, err
	}
	for _, v := range versions {
		r.Releases = append(r.Releases, v.String())
	}
	now, image, faults, err := g.schema(ctx)
	// Lines and names come from what is compiled.
	if err != nil || len(faults) > 0 { // what can't be compiled can't be compared
		r.Faults = once(faults)
		return r, nil, err
	}
	if faults, err = g.checkProto(ctx, versions); err != nil {
		return r, nil, err
	}
	frozen, err := g.checkFrozen(versions)
	if err != nil {
		return r, nil, err
	}
	embedded, err := g.checkEmbedded(now, versions)
	if err != nil {
		return r, nil, err
	}
	stray, err := g.checkStray()
	if err != nil {
		return r, nil, err
	}
	frozen = slices.Concat(frozen, embedded, stray)
	goldens, err := ReadCorpus(g.Dir)
	if err != nil {
		frozen = append(frozen, Fault{File: protoDir + "/" + corpusDir, Rule: "CORPUS_BROKEN", What: err.Error(), Instead: adviceGolden})
	}
	r.Types, r.Goldens = len(now.eventTypes()), len(goldens)
	if err == nil && !slices.ContainsFunc(faults, func(f Fault) bool { return f.Since != "" }) {
		frozen = append(frozen, checkCorpus(now, goldens)...)
	} // else its events can't be read, of course, and who mends the cause need not hear of each
	r.Faults = once(append(faults, frozen...))
	return r, image, nil
}

// checkProto looks at what buf.yaml asks for, runs buf's lint, and compares with every release, the oldest first.
func (g Gate) checkProto(ctx context.Context, versions []version) ([]Fault, error) {
	all, err := g.checkBufYAML()
	if err != nil {
		return nil, err
	}
	faults, err := g.findingsOf(ctx, "", "lint")
	if err != nil {
		return nil, err
	}
	all = append(all, faults...)
	for _, v := range versions {
		faults, err := g.findingsOf(ctx, v.String(), "breaking", "--against", v.image())
		if err != nil {
			return nil, err
		}
		all = append(all, faults...)
	}
	return all, nil
}

const adviceGolden = "put the case back as it was recorded; git log has it. One that was recorded wrong, and not released yet, is removed " +
	"with its folder, and recorded again"

// checkCorpus finds golden events that are not read as what they say, and what no golden event has said.
func checkCorpus(now *schema, goldens []Golden) (faults []Fault) {
	said := map[string]map[string]bool{}
	// What was said is counted by type: each type has events of its own in the log, and each is to be seen once.
	for i := range goldens {
		g := &goldens[i]
		m := now.message(g.Type)
		if m == nil {
			faults = append(faults, Fault{File: g.dir(), Rule: "CORPUS_TYPE", What: "there is no message " + g.Type + " any more",
				Instead: "put the message back: its events are kept for ever"})
			continue
		}
		message, err := g.Verify(dynamicpb.NewMessageType(m), now.types)
		if err != nil {
			faults = append(faults, Fault{File: g.dir(), Rule: "CORPUS_BROKEN", What: strings.ReplaceAll(err.Error(), "\n", "; "), Instead: adviceGolden})
		}
		if said[g.Type] == nil {
			said[g.Type] = map[string]bool{}
		}
		if message != nil {
			note(said[g.Type], message, "")
		}
	}
	for _, m := range now.eventTypes() {
		if f, lacks := lacking(m, said[string(m.FullName())]); lacks {
			faults = append(faults, f)
		}
	}
	return faults
}

// lacks reports whether there is something that no golden event of m has said.
func (g Gate) lacks(now *schema, m protoreflect.MessageDescriptor) (bool, error) {
	goldens, err := ReadCorpus(g.Dir)
	if err != nil {
		return false, err
	}
	want, _ := lacking(m, nil)
	return slices.ContainsFunc(checkCorpus(now, goldens), func(f Fault) bool {
		return f.Rule == want.Rule && f.Instead == want.Instead // which names the type
	}), nil
}

// lacking is the fault of an event type of which there is something that no golden event has said. said is nil where
// there is none at all.
func lacking(m protoreflect.MessageDescriptor, said map[string]bool) (f Fault, lacks bool) {
	f = Fault{
		File: fileOf(m), Line: lineOf(m), Rule: "CORPUS_LACKS",
		What:    fmt.Sprintf("no golden event is a %s", m.FullName()),
		Instead: fmt.Sprintf("record it: go run ./services/tidings schema record %s", m.FullName()),
	}
	if said == nil {
		return f, true
	}
	var paths []string
	for _, n := range needs(m) {
		if !said[n.path] {
			if paths = append(paths, n.path); len(paths) == 1 {
				f.File, f.Line = fileOf(n.at), lineOf(n.at)
			}
		}
	}
	f.What = fmt.Sprintf("no golden event of %s has set: %s", m.FullName(), strings.Join(paths, ", "))
	return f, len(paths) > 0
}
