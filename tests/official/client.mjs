// The official Node SDK as a robot that echoes: the proof that the simulated cloud speaks DingTalk.
// Started by tests/it/official.rs. Arguments: the simulator's URL, client id, client secret.
// The SDK's addresses are constants, so requests are turned to the simulator as axios sends them.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../.tools/node/client.cjs", import.meta.url));
const axios = require("axios");
const { DWClient } = require("dingtalk-stream");

const [base, clientId, clientSecret] = process.argv.slice(2);
axios.interceptors.request.use((request) => {
  request.url = request.url.replace(/^https:\/\/(api|oapi)\.dingtalk\.com/, base);
  return request;
});

const client = new DWClient({ clientId, clientSecret });
client.registerCallbackListener("/v1.0/im/bot/messages/get", async (frame) => {
  const message = JSON.parse(frame.data);
  const accessToken = await client.getAccessToken();
  const answer = await axios({
    url: message.sessionWebhook,
    method: "POST",
    data: {
      msgtype: "text",
      text: { content: "echo:" + message.text.content.trim() },
      at: { atUserIds: [message.senderStaffId] },
    },
    headers: { "x-acs-dingtalk-access-token": accessToken },
  });
  client.socketCallBackResponse(frame.headers.messageId, answer.data);
});
client.registerCallbackListener("/v1.0/card/instances/callback", (frame) => {
  const pressed = JSON.parse(JSON.parse(frame.data).content);
  client.socketCallBackResponse(frame.headers.messageId, {
    cardUpdateOptions: { updateCardDataByKey: true },
    cardData: { cardParamMap: { pressed: pressed.cardPrivateData.actionIds[0] } },
  });
});
client.registerAllEventListener(() => ({ status: "SUCCESS", message: "OK" }));
client.connect();
