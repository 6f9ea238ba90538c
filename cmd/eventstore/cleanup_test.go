package main

import (
	"bytes"
	"testing"
)

func TestPassIsShownWithWhatIsPending(t *testing.T) {
	const cell = `{"segment":"events_20251223_100000","first_id":"000000000001","category":"service","count":20,"last_timestamp":"2025-12-23T10:00:00.000000Z"}`
	var out bytes.Buffer
	err := showPass(terminal{out: &out}, "aged out", []byte(`{"aged_out_events":20,"bytes_freed":-7,"cells":[`+cell+`],"segments":[{}],"pending":[`+cell+`],"pending_reason":"no \u001b[2J room"}`))
	want := "SEGMENT                 CATEGORY  EVENTS  LAST\n" +
		"events_20251223_100000  service   20      2025-12-23T10:00:00.000000Z\n" +
		"aged out: 20 events, 1 cells; bytes given back: -7 in 1 segments\n" +
		"pending: 20 events, decided and still in the files: no \uFFFD[2J room\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	err = showPass(terminal{out: &out}, "would age out", []byte(`{"cells":[],"segments":[],"pending":[]}`))
	if want := "would age out: 0 events, 0 cells; bytes given back: 0 in 0 segments\n"; err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}
