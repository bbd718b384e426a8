"""The official Python SDK as a robot that echoes: the proof that the simulated cloud speaks DingTalk.

Started by tests/it/official.rs with DINGTALK_OPENAPI_ENDPOINT naming the simulator (the SDK reads it on import).
Arguments: client id, client secret.
"""

import logging
import sys

import dingtalk_stream
from dingtalk_stream import AckMessage


class Echo(dingtalk_stream.ChatbotHandler):
    async def process(self, callback):
        incoming = dingtalk_stream.ChatbotMessage.from_dict(callback.data)
        if incoming.text.content.strip() == "card please":
            replier = dingtalk_stream.CardReplier(self.dingtalk_client, incoming)
            card = replier.create_and_send_card("buttons.schema", {"content": "sure?", "open": "true"})
            replier.put_card_data(card, {"content": "really?"})
            return AckMessage.STATUS_OK, "OK"
        self.reply_text("echo:" + incoming.text.content.strip(), incoming)
        return AckMessage.STATUS_OK, "OK"


class Card(dingtalk_stream.CallbackHandler):
    async def process(self, callback):
        pressed = dingtalk_stream.CardCallbackMessage.from_dict(callback.data)
        actions = pressed.content["cardPrivateData"]["actionIds"]
        return AckMessage.STATUS_OK, {
            "cardUpdateOptions": {"updateCardDataByKey": True},
            "cardData": {"cardParamMap": {"pressed": actions[0]}},
        }


class Event(dingtalk_stream.EventHandler):
    async def process(self, event):
        return AckMessage.STATUS_OK, "OK"


def main():
    logger = logging.getLogger("client")  # the SDK's own one tells every frame
    logger.setLevel(logging.ERROR)
    credential = dingtalk_stream.Credential(*sys.argv[1:3])
    client = dingtalk_stream.DingTalkStreamClient(credential, logger)
    client.register_all_event_handler(Event())
    client.register_callback_handler(dingtalk_stream.chatbot.ChatbotMessage.TOPIC, Echo())
    client.register_callback_handler(dingtalk_stream.CallbackHandler.TOPIC_CARD_CALLBACK, Card())
    client.start_forever()


main()
