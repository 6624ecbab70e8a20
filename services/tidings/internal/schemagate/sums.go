package schemagate

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// sums are the SHA-256 of files, by their paths below proto/. On disk they are what sha256sum prints, so that
// `cd proto && sha256sum --check released/v0.2.0.sums` says the same.
type sums map[string]string

// frozen sums what a release freezes: every golden file, and every release before it. What else lies there, as an editor's
// copy that git ignores, would be missing in every other checkout.
func (g Gate) frozen() (sums, error) {
	golden, _, err := g.corpusFiles()
	if err != nil {
		return nil, err
	}
	earlier, err := g.filesBelow(releasedDir)
	if err != nil {
		return nil, err
	}
	earlier = slices.DeleteFunc(earlier, func(name string) bool {
		return !strings.HasSuffix(name, imageSuffix) && !strings.HasSuffix(name, sumsSuffix)
	})
	all := sums{}
	for _, name := range append(golden, earlier...) {
		if all[name], err = sumOf(filepath.Join(g.Dir, protoDir, filepath.FromSlash(name))); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// filesBelow lists the files below a folder of proto/, by their paths below proto/; none where it isn't there. What begins
// with a dot is being written, or is a system's own.
func (g Gate) filesBelow(dir string) (names []string, err error) {
	root := filepath.Join(g.Dir, protoDir)
	err = filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
		switch hidden := err == nil && strings.HasPrefix(e.Name(), "."); {
		case err != nil:
			return err
		case hidden && e.IsDir():
			return fs.SkipDir
		case hidden || e.IsDir():
			return nil
		}
		name, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return names, err
}

// corpusFiles tells the files of golden events from whatever else lies in the corpus.
func (g Gate) corpusFiles() (golden, stray []string, err error) {
	all, err := g.filesBelow(corpusDir)
	for _, name := range all {
		// corpus/TYPE/CASE/FILE
		if strings.Count(name, "/") == 3 && isGoldenFile(path.Base(name)) {
			golden = append(golden, name)
		} else {
			stray = append(stray, name)
		}
	}
	return golden, stray, err
}

// checkStray finds files in the corpus that are of no golden event.
func (g Gate) checkStray() (faults []Fault, err error) {
	_, stray, err := g.corpusFiles()
	for _, name := range stray {
		faults = append(faults, Fault{
			File: protoDir + "/" + name, Rule: "CORPUS_STRAY", What: "this file is none of a golden event, whether git sees it or not",
			Instead: "remove it: an event is TYPE/CASE/ with " + strings.Join(goldenFiles(), ", ") + ", and nothing else lies in the corpus",
		})
	}
	return faults, err
}

// sumOf is the SHA-256 of a file as it lies there, in hexadecimal. Of events as they were encoded once that is right: they
// are compared with themselves, and never with what another program makes of the same message.
func sumOf(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// text is the file's.
func (s sums) text() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s  %s\n", s[name], name)
	}
	return b.Bytes()
}

// readSums reads the list of a release; empty where the release froze nothing, as the first one.
func (g Gate) readSums(v version) (sums, error) {
	b, err := os.ReadFile(filepath.Join(g.Dir, filepath.FromSlash(v.sums())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := sums{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || len(sum) != 2*sha256.Size || !filepath.IsLocal(filepath.FromSlash(name)) {
			return nil, fmt.Errorf("%s: %q is no line of sha256sum", v.sums(), lines.Text())
		}
		all[name] = sum
	}
	return all, lines.Err()
}

// checkFrozen finds files that were released, and are gone or changed.
func (g Gate) checkFrozen(all []version) ([]Fault, error) {
	faults, err := g.checkPairs(all)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		frozen, err := g.readSums(v)
		if err != nil {
			return nil, err
		}
		for name, want := range frozen {
			got, err := sumOf(filepath.Join(g.Dir, protoDir, filepath.FromSlash(name)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if got != want {
				faults = append(faults, frozenFault(name, v, err != nil))
			}
		}
	}
	return faults, nil
}

// checkPairs finds releases of which only the image or only the list is left. The first release froze nothing, and may have no
// list. Without this, who removes one file of the newest release would have nothing of it checked any more.
func (g Gate) checkPairs(all []version) (faults []Fault, err error) {
	lists, err := filepath.Glob(filepath.Join(g.Dir, protoDir, releasedDir, "v*"+sumsSuffix))
	if err != nil {
		return nil, err
	}
	listed := map[version]bool{}
	for _, path := range lists {
		v, err := parseVersion(strings.TrimSuffix(filepath.Base(path), sumsSuffix))
		if err != nil {
			return nil, fmt.Errorf("schemagate: %s: %w", path, err)
		}
		if listed[v] = true; !slices.Contains(all, v) {
			faults = append(faults, pairFault(v, v.image(), v.sums()))
		}
	}
	for i, v := range all {
		if i > 0 && !listed[v] {
			faults = append(faults, pairFault(v, v.sums(), v.image()))
		}
	}
	return faults, nil
}

func pairFault(v version, gone, there string) Fault {
	return Fault{
		File: gone, Rule: "FROZEN_GONE", What: "this file was released, and is gone: " + there + " is there", Since: v.String(),
		Instead: "put it back (git log -- " + gone + " has it). Where a release was interrupted that nobody has, remove " + there + ", and release again",
	}
}

// frozenFault tells what became of a frozen file. Who reads it has most likely meant well: a file that looked out of date,
// or an editor that ended its last line.
func frozenFault(name string, v version, gone bool) Fault {
	f := Fault{File: protoDir + "/" + name, Rule: "FROZEN_CHANGED", What: "this file is not what was released", Since: v.String()}
	if gone {
		f.Rule, f.What = "FROZEN_GONE", "this file was released, and is gone"
	}
	f.Instead = "put it back as it was (" + v.sums() + " has its SHA-256; git log -- " + f.File + " the file): the events that it stands " +
		"for are in the log. Where programs no longer read it, they are what has to change; what is new is a case of its own"
	return f
}
