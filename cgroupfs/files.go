// SPDX-License-Identifier: Apache-2.0

package cgroupfs

// controlFile describes a control file that the FileReader reads: its form and
// the fields in it. Those that a FileReader holds are not changed any more.
type controlFile struct {
	name  string
	parse parser
	// hot files are read every time and get a kept descriptor. A kept
	// descriptor saves open and close, about 18 us of the 20 to 85 us that a
	// read costs, and holds a page of kernel memory. That pays for what changes
	// by itself. It does not pay for settings, which are read every 30th time:
	// that would be two thirds as many descriptors again for a thirtieth of the
	// gain each.
	hot bool
	// mayBeMax is true where a lone value can be "max".
	mayBeMax bool

	// These come from the fields' own table (FieldInfo.File and Key).
	fields []Field
	keys   []string // keys[i] is the key of fields[i]

	cname []byte // the name with a NUL byte behind it, for openat
}

// cpuMax is hot only where there is a quota (see cgroupFiles.noQuota).
const cpuMax = "cpu.max"

// controlFiles returns the files in the order of reading. cpu.stat is the
// first, because CPU rates divide by the time that the caller took just before.
// Within a controller the files that belong together in arithmetic
// (memory.current and memory.stat) are neighbours, to be as close in time
// as several reads can be.
func controlFiles() []controlFile {
	files := []controlFile{
		{name: "cpu.stat", parse: parseFlatKeyed, hot: true},
		{name: cpuMax, parse: parseCPUMax, hot: true},
		{name: "cpu.pressure", parse: parsePressure, hot: true},
		{name: "memory.current", parse: parseValue, hot: true},
		{name: "memory.stat", parse: parseFlatKeyed, hot: true},
		{name: "memory.peak", parse: parseValue, hot: true},
		{name: "memory.events", parse: parseFlatKeyed, hot: true},
		{name: "memory.events.local", parse: parseFlatKeyed, hot: true},
		{name: "memory.pressure", parse: parsePressure, hot: true},
		{name: "memory.swap.current", parse: parseValue, hot: true},
		{name: "memory.swap.events", parse: parseFlatKeyed, hot: true},
		{name: "io.stat", parse: parseIOStat, hot: true},
		{name: "io.pressure", parse: parsePressure, hot: true},
		{name: "pids.current", parse: parseValue, hot: true},
		{name: "cpu.weight", parse: parseValue},
		{name: "cpu.max.burst", parse: parseValue},
		{name: "memory.max", parse: parseValue, mayBeMax: true},
		{name: "memory.high", parse: parseValue, mayBeMax: true},
		{name: "memory.min", parse: parseValue, mayBeMax: true},
		{name: "memory.low", parse: parseValue, mayBeMax: true},
		{name: "memory.oom.group", parse: parseValue},
		{name: "memory.swap.max", parse: parseValue, mayBeMax: true},
		{name: "pids.max", parse: parseValue, mayBeMax: true},
	}
	for i := range files {
		files[i].cname = append([]byte(files[i].name), 0)
		for f := range NumFields {
			if info := f.Info(); info.File == files[i].name {
				files[i].fields = append(files[i].fields, f)
				files[i].keys = append(files[i].keys, info.Key)
			}
		}
	}
	return files
}

// unset makes all fields of the file absent.
func (file *controlFile) unset(into *Reading) {
	for _, f := range file.fields {
		into.Unset(f)
	}
}

// indexOf returns the index of the field with this key, or -1. It looks at
// start first and comes round to it again.
func (file *controlFile) indexOf(key []byte, start int) int {
	for i := start; i < len(file.keys); i++ {
		if file.keys[i] == string(key) {
			return i
		}
	}
	for i := range min(start, len(file.keys)) {
		if file.keys[i] == string(key) {
			return i
		}
	}
	return -1
}
