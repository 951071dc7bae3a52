"""The prompts that the workflows come with: finished videos in 80 to 140 words."""
# ruff: noqa: E501

PROMPTS = {
    "animate_a_picture": (
        "The character of the picture moves in front of a camera that stands still, in the place that the picture shows. "
        "Face, hair, body, clothes and colours stay exactly as in the picture from the first frame to the last. The whole "
        "body takes part in every movement: the head turns and the eyes follow, shoulders and hips lead, arms, hands and "
        "fingers finish each gesture, and the feet stand firmly on the ground while the weight goes from one leg to the "
        "other. Hair and cloth follow with a slight delay. The light comes from where it comes from in the picture, and soft "
        "shadows move along with the body. Sharp, steady footage in the style of the picture, with natural movement."),
    "replace_a_person": (
        "The character of the picture is in the place of the clip and does what is done there, from the first frame to the "
        "last. Face, hair, body, clothes and colours are exactly those of the picture. The whole body takes part in every "
        "movement: the head turns and the eyes follow, arms, hands and fingers finish each gesture, and the feet stand "
        "firmly on the ground. Hair and cloth follow with a slight delay. The light of the place falls on face, clothes and "
        "hands as on everything around, with the same shadows. The surroundings, the other people and the camera stay as "
        "they are. Sharp, natural footage with real skin and fabric."),
    "animation": (
        "A young woman with shoulder-length chestnut hair dances on a stone terrace above the sea in the late afternoon. "
        "She wears a loose cream linen shirt with rolled-up sleeves, high-waisted dark blue trousers and white canvas "
        "shoes. She steps from side to side, swings her arms wide, turns her shoulders and bends her knees in time with "
        "the music, her hair and the hem of her shirt following every movement. Her face stays relaxed and friendly, her "
        "eyes look past the camera. Behind her are a low wall, a few potted plants and calm blue water under a clear sky. "
        "Warm low sunlight comes from the left and draws soft shadows on the stones. The camera stands still at chest "
        "height and shows her from head to toe. Sharp, natural, realistic footage."),
    "replacement": (
        "A tall man with short black hair and a trimmed beard walks through a busy market street. He wears a dark green "
        "rain jacket over a grey hooded sweater, black jeans and brown leather boots, and carries a folded newspaper under "
        "his left arm. He slows down in front of a fruit stall, picks up an orange with his right hand, looks at it from "
        "both sides, puts it back and walks on with a short nod to the seller. The wet pavement reflects the awnings and "
        "the passing people, and the light of an overcast morning falls evenly on his face, jacket and hands, matching the "
        "street around him. The camera follows him at walking pace at eye level. Natural skin, real fabric with fine folds, "
        "sharp and realistic footage."),
    "two_people": (
        "Two friends practise a dance routine in a bright studio with a wooden floor and a mirrored back wall. On the left "
        "a woman with a blonde ponytail wears a red tank top, grey leggings and black sneakers; on the right a man with "
        "curly dark hair wears a white T-shirt, loose blue trousers and white sneakers. They start side by side, step "
        "forward together, raise their arms, turn towards each other, clap hands once and step apart again, both in the "
        "same rhythm and smiling now and then. Daylight from large windows on the right fills the room and leaves soft "
        "shadows under their feet. The camera stands still at waist height and keeps both of them in view from head to toe. "
        "Clear faces, natural movement, realistic footage."),
    "additional_reference": (
        "A young woman with long braided red hair practises a slow dance in an empty old ballroom. She wears a dark green "
        "dress with long sleeves, an open back with crossed straps and a wide skirt, and flat black shoes. She begins facing "
        "the camera, lifts both arms, makes a full turn so that the braid, the crossed straps and the back of the dress can "
        "be seen, and ends facing the camera again with one foot forward. The skirt swings out during the turn and settles "
        "slowly. Tall windows on the left let in cool morning light that falls on the polished parquet and the pale walls "
        "behind her. The camera stands still at chest height and shows her from head to toe. Calm, sharp, realistic "
        "footage with fine detail in fabric and hair."),
    "animal": (
        "A young red fox with a white chest, black ears and a thick tail trots on the spot on a sandy beach. Its legs swing "
        "in turn from the shoulders and the hips, front left with back right, and the paws touch the sand lightly. The back "
        "bobs a little with every step, the head nods in the same rhythm, and the tail follows a moment later. The fur is "
        "dense and soft, darker along the spine and pale on the belly. Behind it calm blue water and a clear sky with a pale "
        "sun on the right; the light is warm and draws a short soft shadow under the animal. The camera stands still at the "
        "height of its shoulders and shows all of it, from nose to tail. Sharp, natural, realistic footage."),
    "small_person": (
        "A young woman with copper red hair walks across a wide square and stops in the middle of it. She wears a cream "
        "linen blouse with rolled-up sleeves, dark blue trousers with a narrow leather belt, and white canvas shoes. She "
        "is seen from head to toe and fills most of the picture. She lifts both arms, waves to somebody outside of the "
        "picture and lowers them again, shifts her weight from one foot to the other, and turns her head so that her hair "
        "swings. Her face is clear and friendly, with freckles and brown eyes. The light of an overcast day is soft and "
        "even, with a faint shadow on the pale stones under her feet. The camera stands still. Sharp, natural footage with "
        "real skin and fabric."),
    "face_pass": (
        "A close view of the head and shoulders of a young woman with copper red hair that falls to her shoulders. She has "
        "light skin with freckles, brown eyes, fine eyebrows and a calm, friendly mouth, and wears a cream linen blouse "
        "with an open collar. She moves with the music: her head sways, tilts and turns a little, her eyes look past the "
        "camera and blink now and then, and her lips part in a slight smile. Strands of hair follow each movement with a "
        "short delay. Soft daylight comes from the front and puts a small highlight in each eye. The background is out of "
        "focus and plain. The camera follows her head steadily. Sharp, natural footage with real skin, hair and fabric."),
}
PROMPTS["ksampler"] = PROMPTS["distilled_draft"] = PROMPTS["long_video"] = PROMPTS["animation"]
PROMPTS["sam3_one_person"] = PROMPTS["animation"]
PROMPTS["sam3_several_people"] = PROMPTS["two_people"]
PROMPTS["sam3_points"] = PROMPTS["from_core_nodes"] = PROMPTS["replacement"]
PROMPTS["replacement_by_overlap"] = PROMPTS["replacement"]
PROMPTS["pose_driven"] = PROMPTS["mesh_driven"] = PROMPTS["animation"]
