package control

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

type errorBody struct {
	Errors []string `json:"errors"`
}

type promptList struct {
	Prompts []Prompt `json:"prompts"`
}

type answerBody struct {
	Answer *string `json:"answer"`
}

var errBody = errors.New("not an answer")

// decodeAnswer reads {"answer":"…"}. Other members are allowed and ignored. Text
// that is not what was typed (invalid UTF-8 and lone surrogates, which
// encoding/json replaces) is refused: a changed code is a wrong code, and costs
// one of few attempts. The error never says what was read.
func decodeAnswer(body []byte) (string, error) {
	if !utf8.Valid(body) {
		return "", errBody
	}
	var b answerBody
	if json.Unmarshal(body, &b) != nil || b.Answer == nil {
		return "", errBody
	}
	if strings.ContainsRune(*b.Answer, utf8.RuneError) {
		return "", errBody
	}
	return *b.Answer, nil
}
