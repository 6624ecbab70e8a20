package schemagate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	releasedDir = "released"
	imageSuffix = ".binpb"
	sumsSuffix  = ".sums"
)

// version is that of a release, MAJOR.MINOR.PATCH.
type version [3]int

// versionText bounds the numbers too, so that they always fit. There are no pre-releases: what isn't frozen isn't released.
var versionText = regexp.MustCompile(`^v?(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$`)

// parseVersion reads "0.2.0", or "v0.2.0" as files are called.
func parseVersion(text string) (v version, err error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return v, fmt.Errorf("%q is no version; pass MAJOR.MINOR.PATCH, such as 0.2.0", text)
	}
	for i := range v {
		if v[i], err = strconv.Atoi(m[i+1]); err != nil {
			return v, err
		}
	}
	return v, nil
}

// CheckVersion refuses what is no version, MAJOR.MINOR.PATCH, released or not.
func CheckVersion(text string) error {
	_, err := parseVersion(text)
	return err
}

// String is the version as people say it, without a v.
func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// compare orders versions by their numbers, of which 0.10.0 is above 0.9.0.
func (v version) compare(w version) int { return slices.Compare(v[:], w[:]) }

// image is the file of a release, from the top of the checkout.
func (v version) image() string {
	return protoDir + "/" + releasedDir + "/v" + v.String() + imageSuffix
}

// sums is the list of what was there when it was released.
func (v version) sums() string { return protoDir + "/" + releasedDir + "/v" + v.String() + sumsSuffix }

// releases lists what was released, oldest first.
func (g Gate) releases() ([]version, error) {
	entries, err := os.ReadDir(filepath.Join(g.Dir, protoDir, releasedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("schemagate: %w", err)
	}
	var all []version
	for _, e := range entries {
		name, isImage := strings.CutSuffix(e.Name(), imageSuffix)
		if !isImage {
			continue
		}
		v, err := parseVersion(name)
		if err != nil || "v"+v.String() != name {
			return nil, fmt.Errorf("schemagate: %s/%s/%s: its name is none that `tidings schema release` gives", protoDir, releasedDir, e.Name())
		}
		all = append(all, v)
	}
	slices.SortFunc(all, version.compare)
	return all, nil
}

// released reads the image of one release.
func (g Gate) released(v version) (*schema, error) {
	image, err := os.ReadFile(filepath.Join(g.Dir, filepath.FromSlash(v.image())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%v was not released: there is no %s", v, v.image())
	}
	if err != nil {
		return nil, err
	}
	s, err := parseSchema(image)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.image(), err)
	}
	return s, nil
}

// next suggests the versions that may follow the newest.
func (v version) next() string {
	return fmt.Sprintf("%v, %v or %v", version{v[0], v[1], v[2] + 1}, version{v[0], v[1] + 1, 0}, version{v[0] + 1, 0, 0})
}

// checkNext refuses a version that isn't above every released one.
func checkNext(v version, all []version) error {
	if len(all) == 0 {
		return nil
	}
	newest := all[len(all)-1]
	switch c := v.compare(newest); {
	case slices.Contains(all, v):
		return fmt.Errorf("%v is released, and never changes again: %s; pass %s", v, v.image(), newest.next())
	case c < 0:
		return fmt.Errorf("%v is not above %v, the newest release; pass %s", v, newest, newest.next())
	}
	return nil
}
