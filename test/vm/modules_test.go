// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// fakeModule is the least that is an ELF file with a section .modinfo.
func fakeModule(t *testing.T, info string) []byte {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	const headerBytes, sectionBytes = 64, 64
	infoAt := uint64(headerBytes)
	namesAt := infoAt + uint64(len(info))
	sectionsAt := namesAt + uint64(len(names))
	var out bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&out, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_AARCH64), Version: uint32(elf.EV_CURRENT),
		Shoff: sectionsAt, Ehsize: headerBytes, Shentsize: sectionBytes, Shnum: 3, Shstrndx: 2,
	})
	out.WriteString(info + names)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info))})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))})
	return out.Bytes()
}

// moduleDir makes a kernel's module folder: file name -> dependencies.
func moduleDir(t *testing.T, builtin string, modules map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	drivers := filepath.Join(dir, "kernel", "drivers")
	if err := os.MkdirAll(drivers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte(builtin), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, depends := range modules {
		image := fakeModule(t, "license=GPL\x00depends="+depends+"\x00name="+name+"\x00")
		if strings.HasSuffix(name, ".zst") {
			encoder, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			image = encoder.EncodeAll(image, nil)
		}
		if err := os.WriteFile(filepath.Join(drivers, name), image, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestModules(t *testing.T) {
	builtin := "kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio_ring.ko\n"
	tree := map[string]string{
		"net.ko": "fail_over,virtio", "fail-over.ko": "base", "base.ko.zst": "", "disk.ko": "virtio_ring,base",
		"loop-a.ko": "loop_b", "loop-b.ko": "loop_a", "lost.ko": "gone", "broken.ko.lz": "",
	}
	tests := map[string]struct {
		names []string
		want  []string
		err   string
	}{
		"nothing":                  {},
		"alone":                    {names: []string{"base"}, want: []string{"base"}},
		"dependencies first":       {names: []string{"net"}, want: []string{"base", "fail_over", "net"}},
		"shared ones once":         {names: []string{"net", "disk", "net"}, want: []string{"base", "fail_over", "net", "disk"}},
		"built in":                 {names: []string{"virtio", "virtio-ring"}},
		"dashes are underscores":   {names: []string{"fail-over"}, want: []string{"base", "fail_over"}},
		"unknown":                  {names: []string{"flux"}, err: "no module flux"},
		"unknown dependency":       {names: []string{"lost"}, err: "needed by lost"},
		"circle":                   {names: []string{"loop_a"}, err: "depends on itself"},
		"unknown compression":      {names: []string{"broken"}, err: "cannot decompress"},
		"error names what was for": {names: []string{"net", "lost"}, err: "kernel module lost"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			modules, err := Modules(t.Context(), Config{}, moduleDir(t, builtin, tree), test.names)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v; want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range modules {
				got = append(got, m.Name)
				if !bytes.HasPrefix(m.Image, []byte("\x7fELF")) {
					t.Errorf("%s is not decompressed", m.Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestModuleDependsRefuses(t *testing.T) {
	image := fakeModule(t, "depends=a\x00")
	for name, broken := range map[string][]byte{
		"no ELF":     []byte("hello"),
		"cut off":    image[:len(image)-70],
		"no modinfo": bytes.Replace(image, []byte(".modinfo"), []byte(".modifno"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if depends, err := moduleDepends(broken); err == nil {
				t.Errorf("dependencies %v; want an error", depends)
			}
		})
	}
}
