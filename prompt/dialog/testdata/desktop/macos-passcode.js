'use strict';
const q = JSON.parse("{\"title\":\"stepup: allow reading kv/data/prod/db?\",\"text\":\"terraform (pid 4711) wants to read kv/data/prod/db\\n\\nVault: corp\\nRule: prod-kv\\nStarted by: make, zsh\\n\\nAttempt 2 of 3: wrong code: wait for the next one\\n\\nPasscode for corp_totp (6 digits)\\nThis window closes after 55 s\",\"ok\":\"Send\",\"cancel\":\"Not now\",\"deny\":\"Deny\",\"entry\":true,\"hidden\":false,\"choices\":[],\"seconds\":57}");
const app = Application.currentApplication();
app.includeStandardAdditions = true;
function ask() {
  app.activate();
  try {
    if (q.choices.length > 0) {
      const picked = app.chooseFromList(q.choices, {
        withTitle: q.title, withPrompt: q.text, okButtonName: q.ok, cancelButtonName: q.cancel
      });
      return picked === false ? { button: q.cancel } : { button: q.ok, text: picked[0] };
    }
    const options = {
      withTitle: q.title, withIcon: 'caution', buttons: [q.deny, q.cancel, q.ok],
      defaultButton: q.entry ? q.ok : q.cancel, cancelButton: q.cancel
    };
    if (q.entry) {
      options.defaultAnswer = '';
      options.hiddenAnswer = q.hidden;
    }
    if (q.seconds > 0) {
      options.givingUpAfter = q.seconds;
    }
    const r = app.displayDialog(q.text, options);
    return r.gaveUp ? { gaveUp: true } : { button: r.buttonReturned, text: r.textReturned };
  } catch (e) {
    if (e.errorNumber === -128) {
      return { button: q.cancel };
    }
    throw e;
  }
}
JSON.stringify(ask());
