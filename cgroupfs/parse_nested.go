// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"math"
	"math/bits"
)

// parseCPUMax parses "QUOTA PERIOD" in microseconds; the quota is "max" where
// there is none. Words behind the two are skipped.
// Kernel: kernel/sched/core.c, cpu_period_quota_print.
func parseCPUMax(file *controlFile, text []byte, into *Reading) *ParseError {
	file.unset(into)
	line, rest := cutLine(text)
	word, words := cutWord(line)
	quota, ok := parseLimit(word, true)
	if !ok {
		return file.garbage(line, "quota is neither max nor a number", into)
	}
	word, _ = cutWord(words)
	period, ok := parseUint(word)
	// The kernel's least period is 1 ms. Who divides by it need not check for 0.
	if !ok || period == 0 {
		return file.garbage(line, "period is no number above 0", into)
	}
	if len(rest) > 0 {
		return file.garbage(rest, "text after the only line", into)
	}
	into.Set(CPUQuota, quota)
	into.Set(CPUPeriod, period)
	return nil
}

// parsePressure parses the totals (in microseconds) of a pressure file:
//
//	some avg10=0.11 avg60=4.04 avg300=1.97 total=7447413
//	full avg10=0.11 avg60=3.87 avg300=1.89 total=7122725
//
// cpu.pressure has no full line before kernel 5.13. Lines of other kinds are
// skipped, and so are the averages: every reader can have better ones from the
// totals. Kernel: kernel/sched/psi.c, psi_show.
func parsePressure(file *controlFile, text []byte, into *Reading) *ParseError {
	file.unset(into)
	found, empty := false, len(text) == 0
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		kind, words := cutWord(line)
		if len(kind) == 0 {
			return file.garbage(line, "empty line", into)
		}
		i := file.indexOf(kind, 0)
		if i < 0 {
			continue
		}
		if into.Has(file.fields[i]) {
			return file.garbage(line, keyTwice, into)
		}
		total, ok := pressureTotal(words)
		if !ok {
			return file.garbage(line, "no total= with a number", into)
		}
		into.Set(file.fields[i], total)
		found = true
	}
	if !found && !empty {
		return file.garbage(nil, "neither some nor full is there", into)
	}
	return nil
}

// pressureTotal finds "total=N" among the words behind some or full.
func pressureTotal(words []byte) (micros uint64, ok bool) {
	for {
		var word []byte
		if word, words = cutWord(words); len(word) == 0 {
			return 0, false
		}
		if key, value, _ := cutByte(word, '='); string(key) == "total" {
			return parseUint(value)
		}
	}
}

// parseIOStat parses a line of "KEY=VALUE" per device and sums them up:
//
//	8:0 rbytes=90112 wbytes=0 rios=12 wios=0 dbytes=0 dios=0
//
// All six fields are present whenever the file could be read: the kernel lists
// a device once the cgroup has used it, so the empty file that a new cgroup
// has means 0, not unknown. (Kernels before 4.20 do not count discards, but
// those are older than anything that Kubernetes runs cgroup v2 on.) A sum that
// does not fit stays at the highest value. A device without keys is fine: the
// kernel leaves one that has no numbers yet alone on its line, and some kernels
// forget the newline, so that the next device follows on the same one.
// Kernel: block/blk-cgroup.c, blkcg_print_one_stat.
func parseIOStat(file *controlFile, text []byte, into *Reading) *ParseError {
	for _, f := range file.fields {
		into.Set(f, 0)
	}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		word, words := cutWord(line)
		if !isDevice(word) {
			return file.garbage(line, "no device at the start", into)
		}
		next := 0
		for {
			if word, words = cutWord(words); len(word) == 0 {
				break
			}
			key, value, isPair := cutByte(word, '=')
			if !isPair {
				if isDevice(word) {
					continue
				}
				return file.garbage(line, "neither a device nor KEY=VALUE", into)
			}
			i := file.indexOf(key, next)
			if i < 0 {
				continue
			}
			next = i + 1
			n, ok := parseUint(value)
			if !ok {
				return file.garbage(line, notANumber, into)
			}
			sum, _ := into.Get(file.fields[i])
			into.Set(file.fields[i], addSaturating(sum, n))
		}
	}
	return nil
}

// isDevice recognises what the kernel prints for a device: "8:0", or
// "(unknown)" for one that has just been removed (mm/backing-dev.c,
// bdi_dev_name).
func isDevice(word []byte) bool {
	if string(word) == "(unknown)" {
		return true
	}
	major, minor, ok := cutByte(word, ':')
	if !ok {
		return false
	}
	_, okMajor := parseUint(major)
	_, okMinor := parseUint(minor)
	return okMajor && okMinor
}

func addSaturating(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}
